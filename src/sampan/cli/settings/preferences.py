"""What `config.json` and the environment prefer where the command line says nothing.

Source: docker/cli's documentation of both.
"""

from __future__ import annotations

import os

from sampan.cli import failures
from sampan.cli.settings import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_PROXIES = {
    "allProxy": "ALL_PROXY",
    "ftpProxy": "FTP_PROXY",
    "httpProxy": "HTTP_PROXY",
    "httpsProxy": "HTTPS_PROXY",
    "noProxy": "NO_PROXY",
}


class NotVerified(failures.BadUsage):
    """Signatures were asked for."""

    def __init__(self) -> None:
        super().__init__(
            "signatures are not verified: Sampan serves no content trust (Notary). Unset DOCKER_CONTENT_TRUST, or give "
            "--disable-content-trust"
        )


def detach_keys(given: str) -> str:
    """`--detach-keys`, else `detachKeys`."""
    return given or str(file.read().get("detachKeys") or "")


def platform(given: str) -> str:
    """`--platform`, else DOCKER_DEFAULT_PLATFORM."""
    return given or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")


def check_trust(disabled: bool | None) -> None:
    """`disabled` is None if nothing was said. Raises: NotVerified."""
    wanted = os.environ.get("DOCKER_CONTENT_TRUST", "").lower() in ("1", "t", "true")
    if disabled is False or (disabled is None and wanted):
        raise NotVerified


def proxy_environment(host: str, given: Iterable[str]) -> list[str]:
    """The variables that `proxies` adds to containers and builds; those given by name already are left out."""
    return proxies(file.read(), host, given)


def proxies(config: Mapping[str, Any], host: str, given: Iterable[str]) -> list[str]:
    """Each setting in capitals and in small letters, of this host or of `default`. Pure."""
    listed = config.get("proxies")
    chosen = (listed.get(host) or listed.get("default")) if isinstance(listed, dict) else None
    if not isinstance(chosen, dict):
        return []
    taken = {text.partition("=")[0] for text in given}
    found = []
    for member, name in _PROXIES.items():
        value = chosen.get(member)
        if value:
            found += [f"{spelling}={value}" for spelling in (name, name.lower()) if spelling not in taken]
    return found
