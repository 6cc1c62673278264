"""Docker's context files, read and written so that both programs use them.

`contexts/meta/<digest of the name>/meta.json` has address and description, `contexts/tls/<digest>/docker/*.pem` what
TLS needs. Source: the files that `docker context create` 28.2 writes.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from sampan.cli import failures, session
from sampan.cli.endpoint import choose
from sampan.cli.settings import file
from sampan.host import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PATTERN = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$"
DEFAULT = choose.DEFAULT
DEFAULT_DESCRIPTION = "Current DOCKER_HOST based configuration"
TLS_FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


class NoSuchContext(failures.CliError):
    """Nothing is kept under the name."""

    def __init__(self, name: str) -> None:
        place = meta_folder(name) / "meta.json"
        super().__init__(f'context "{name}": context not found: open {place}: no such file or directory')


def check_name(name: str) -> None:
    """Raises: BadUsage."""
    if name == DEFAULT:
        raise failures.BadUsage(f'"{DEFAULT}" is a reserved context name')
    if not re.match(PATTERN, name):
        raise failures.BadUsage(f'context name "{name}" is invalid, names are validated against regexp "{PATTERN}"')


def _root() -> Path:
    return Path(file.folder(), "contexts")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def meta_folder(name: str) -> Path:
    """Where a context's `meta.json` lies."""
    return _root() / "meta" / _digest(name)


def tls_folder(name: str) -> Path:
    """Where a context's keys lie, in folders by endpoint."""
    return _root() / "tls" / _digest(name)


def current() -> str:
    """The context this run would use."""
    return choose.context_name(session.chosen, os.environ, str(file.read().get("currentContext") or ""))


def exists(name: str) -> bool:
    """Whether it is kept; `default` always is."""
    return name == DEFAULT or (meta_folder(name) / "meta.json").exists()


def names() -> list[str]:
    """All that are kept, and `default`, sorted."""
    found = [json.loads(path.read_bytes())["Name"] for path in _root().glob("meta/*/meta.json")]
    return sorted([*found, DEFAULT])


def read(name: str) -> dict[str, Any]:
    """Name, Metadata, Endpoints. Raises: NoSuchContext."""
    if name == DEFAULT:
        return {
            "Name": DEFAULT,
            "Metadata": {"Description": DEFAULT_DESCRIPTION},
            "Endpoints": {
                "docker": {"Host": choose.default_address(session.chosen, os.environ), "SkipTLSVerify": False}
            },
        }
    try:
        found = json.loads((meta_folder(name) / "meta.json").read_bytes())
    except FileNotFoundError as error:
        raise NoSuchContext(name) from error
    except (ValueError, OSError) as error:
        raise failures.CliError(f'context "{name}": {meta_folder(name)}/meta.json cannot be read: {error}') from error
    if not isinstance(found, dict):
        raise failures.CliError(f'context "{name}": {meta_folder(name)}/meta.json holds no object')
    return found


def keys(name: str) -> dict[str, bytes]:
    """What TLS needs, by file name."""
    folder = tls_folder(name) / "docker"
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*"))} if name != DEFAULT else {}


def write(
    name: str, *, address: str, description: str, skip_verify: bool = False, material: Mapping[str, bytes] | None = None
) -> None:
    """Keep a context: the keys first, so that a name never means an endpoint without them."""
    if material is not None:
        shutil.rmtree(tls_folder(name), ignore_errors=True)
        for file_name, content in material.items():
            folder = tls_folder(name) / "docker"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_durably(folder / file_name, content, mode=0o600)
    members = {
        "Name": name,
        "Metadata": {"Description": description} if description else {},
        "Endpoints": {"docker": {"Host": address, "SkipTLSVerify": skip_verify}},
    }
    meta_folder(name).mkdir(parents=True, exist_ok=True)
    files.write_durably(meta_folder(name) / "meta.json", json.dumps(members, separators=(",", ":")).encode())


def remove(name: str) -> None:
    """Forget it: the name first."""
    shutil.rmtree(meta_folder(name))
    shutil.rmtree(tls_folder(name), ignore_errors=True)


def choose_current(name: str) -> None:
    """Write the current context into `config.json`; `default` is written by its absence."""
    members = {"auths": {}} | file.read()
    members.pop("currentContext", None)
    file.write(members | ({"currentContext": name} if name != DEFAULT else {}))


def endpoint(name: str) -> choose.Endpoint:
    """What to connect to. Raises: CliError."""
    try:
        docker = read(name)["Endpoints"]["docker"]
    except NoSuchContext as error:
        raise failures.CliError(f"Failed to initialize: unable to resolve docker endpoint: {error}") from error
    except (KeyError, TypeError) as error:
        raise failures.CliError(f'context "{name}" has no endpoint of docker') from error
    folder = tls_folder(name) / "docker"
    have = {key: str(folder / text) for key, text in TLS_FILES.items() if (folder / text).exists()}
    skip = bool(docker.get("SkipTLSVerify"))
    tls = {**have, "verify": not skip, "asked": list(have)} if have or skip else None
    return choose.Endpoint(str(docker.get("Host") or choose.default_address({}, {})), tls)
