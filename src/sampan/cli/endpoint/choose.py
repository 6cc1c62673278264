"""Which daemon this run of the program talks to.

In this order: `-H` (or SAMPAN_HOST), `--context`, DOCKER_HOST, DOCKER_CONTEXT, the current context of
`config.json`, the first socket that exists. Source: docker/cli's documentation of contexts and environment variables.
"""

from __future__ import annotations

import os

from sampan.cli import client, failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SOCKETS = ("/run/sampan/sampan.sock", "/var/run/docker.sock")
DEFAULT = "default"


class Endpoint:
    """An address, and what TLS needs: `tls` is None for none, else file names by `ca`, `cert`, `key`, and `verify`."""

    def __init__(self, address: str, tls: Mapping[str, Any] | None = None) -> None:
        self.address, self.tls = address, tls


def context_name(chosen: Mapping[str, Any], environment: Mapping[str, str], configured: str) -> str:
    """The context in use; `default` where address or socket decide. Raises: BadUsage."""
    hosts = list(chosen.get("host") or ())
    if chosen.get("context"):
        if hosts:
            raise failures.BadUsage("conflicting options: cannot specify both --host and --context")
        return str(chosen["context"])
    if hosts or environment.get("SAMPAN_HOST") or environment.get("DOCKER_HOST"):
        return DEFAULT
    return environment.get("DOCKER_CONTEXT") or configured or DEFAULT


def default_address(chosen: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """The address of the context `default`. Raises: BadUsage."""
    hosts = list(chosen.get("host") or ())
    if len(hosts) > 1:
        raise failures.BadUsage("Specify only one -H")
    for value in (*hosts, environment.get("SAMPAN_HOST"), environment.get("DOCKER_HOST")):
        if value:
            return str(value)
    return f"unix://{next((path for path in SOCKETS if os.path.exists(path)), SOCKETS[0])}"  # noqa: PTH110 - pathlib is slow


def default_tls(chosen: Mapping[str, Any], environment: Mapping[str, str], folder: str) -> dict[str, Any] | None:
    """What TLS needs for the context `default`."""
    verify = bool(chosen.get("tlsverify") or environment.get("DOCKER_TLS_VERIFY"))
    if not (verify or chosen.get("tls") or environment.get("DOCKER_TLS")):
        return None
    folder = environment.get("DOCKER_CERT_PATH") or folder
    names = {"ca": "tlscacert", "cert": "tlscert", "key": "tlskey"}
    files = {key: str(chosen.get(flag) or f"{folder}/{key}.pem") for key, flag in names.items()}
    return files | {"verify": verify, "asked": [key for key, flag in names.items() if chosen.get(flag)]}


def for_this_run(chosen: Mapping[str, Any]) -> client.Client:
    """The client that flags, environment and settings name. Raises: BadUsage, CliError."""
    from sampan.cli.endpoint import connect

    environment = os.environ
    settings = _settings(chosen)
    name = context_name(chosen, environment, str(settings.get("currentContext") or ""))
    if name == DEFAULT:
        from sampan.cli.settings import file

        folder = file.folder()
        endpoint = Endpoint(default_address(chosen, environment), default_tls(chosen, environment, folder))
    else:
        from sampan.cli.endpoint import contexts

        endpoint = contexts.endpoint(name)
    version = environment.get("DOCKER_API_VERSION", "").removeprefix("v")
    headers = settings.get("HttpHeaders")
    return client.Client(
        endpoint.address,
        connect.connector(endpoint.address, endpoint.tls),
        headers={str(key): str(value) for key, value in headers.items()} if isinstance(headers, dict) else {},
        version=version or client.API_VERSION,
        fixed=bool(version),
    )


def _settings(chosen: Mapping[str, Any]) -> Mapping[str, Any]:
    from sampan.cli.settings import file

    return file.read()
