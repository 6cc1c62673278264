"""Credentials for registries: from `config.json`, or from the program that it names."""

from __future__ import annotations

import base64
import json

from sampan.cli.settings import file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HUB = "https://index.docker.io/v1/"


def server_of(image: str) -> str:
    """The key of an image's registry in the file. Pure."""
    first, slash, _ = image.partition("/")
    if (
        slash
        and ("." in first or ":" in first or first == "localhost")
        and first not in ("docker.io", "index.docker.io")
    ):
        return first
    return HUB


def host_of(key: str) -> str:
    """`https://ship:5000/v1/` is `ship:5000`: how older programs wrote it. Pure."""
    bare = key.removeprefix("http://").removeprefix("https://")
    return bare.partition("/")[0]


def helper_of(server: str, config: Mapping[str, Any]) -> str:
    """The program that keeps a server's password; "" for the file itself. Pure."""
    special = config.get("credHelpers")
    if isinstance(special, dict) and special.get(server):
        return str(special[server])
    return str(config.get("credsStore") or "")


def from_file(server: str, config: Mapping[str, Any]) -> dict[str, str]:
    """What the file has for a server: {} or username, password, serveraddress, perhaps identitytoken. Pure."""
    auths = config.get("auths")
    if not isinstance(auths, dict):
        return {}
    entry = auths.get(server)
    if entry is None and server != HUB:
        entry = next((value for key, value in auths.items() if host_of(key) == server), None)
    if not isinstance(entry, dict) or not entry:
        return {}
    try:
        written = base64.b64decode(entry.get("auth") or "").decode(errors="replace")
    except ValueError:
        return {}
    user, _, password = written.partition(":")
    if not user:
        return {}
    found = {"username": user, "password": password.rstrip("\0"), "serveraddress": server}
    if entry.get("identitytoken"):
        found["identitytoken"] = str(entry["identitytoken"])
    return found


def credentials(server: str) -> dict[str, str]:
    """What we have for a server; {} for nothing. Raises: HelperFailed."""
    config = file.read()
    helper = helper_of(server, config)
    if not helper:
        return from_file(server, config)
    from sampan.cli.settings import helpers

    found = helpers.get(helper, server)
    return found | {"serveraddress": server} if found else {}


def encoded(found: Mapping[str, str]) -> str:
    """As headers carry it. Pure."""
    return base64.urlsafe_b64encode(json.dumps(dict(found)).encode()).decode()


def for_image(image: str) -> dict[str, str]:
    """`X-Registry-Auth` for an image's registry; empty credentials where we have none. Raises: HelperFailed."""
    return {"X-Registry-Auth": encoded(credentials(server_of(image)))}


def all_known() -> dict[str, dict[str, str]]:
    """All that we have, by server, for a build that may pull from anywhere. Raises: HelperFailed."""
    config = file.read()
    auths = config.get("auths")
    servers = set(auths) if isinstance(auths, dict) else set()
    special = config.get("credHelpers")
    servers |= set(special) if isinstance(special, dict) else set()
    store = str(config.get("credsStore") or "")
    if store:
        from sampan.cli.settings import helpers

        servers |= set(helpers.listed(store))
    found = {server: credentials(server) for server in sorted(servers)}
    return {server: one for server, one in found.items() if one}


def keep(server: str, user: str, password: str, token: str = "") -> str:
    """Remember. Returns the helper that did, "" for the file. Raises: CliError."""
    config = file.read()
    helper = helper_of(server, config)
    entry: dict[str, str] = {}
    if helper:
        from sampan.cli.settings import helpers

        helpers.store(helper, server, helpers.TOKEN_USER if token else user, token or password)
    else:
        secret = "" if token else password
        entry["auth"] = base64.b64encode(f"{user}:{secret}".encode()).decode()
        if token:
            entry["identitytoken"] = token
    auths = config.get("auths") if isinstance(config.get("auths"), dict) else {}
    file.write({"auths": {}} | config | {"auths": {**(auths or {}), server: entry}})
    return helper


def forget(server: str) -> None:
    """Remove a server from the file and from its helper. Raises: CliError."""
    config = file.read()
    helper = helper_of(server, config)
    if helper:
        from sampan.cli.settings import helpers

        helpers.erase(helper, server)
    auths = config.get("auths")
    if isinstance(auths, dict) and server in auths:
        file.write(config | {"auths": {key: value for key, value in auths.items() if key != server}})
