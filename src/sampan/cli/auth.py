"""Credentials for registries, from Docker's own file.

Only `auths` entries; credential helpers are not called.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
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


def header(image: str, config: Mapping[str, Any]) -> dict[str, str]:
    """`X-Registry-Auth` for an image; empty credentials where the file has none. Pure."""
    server = server_of(image)
    auths = config.get("auths")
    entry = auths.get(server) if isinstance(auths, dict) else None
    found: dict[str, str] = {}
    if isinstance(entry, dict):
        user, _, password = base64.b64decode(entry.get("auth") or "").decode(errors="replace").partition(":")
        found = {"username": user, "password": password.rstrip("\0"), "serveraddress": server}
        if entry.get("identitytoken"):
            found["identitytoken"] = str(entry["identitytoken"])
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(found).encode()).decode()}


def read_config(environment: Mapping[str, str]) -> dict[str, Any]:
    """`$DOCKER_CONFIG/config.json`; {} if there is none or it cannot be read."""
    directory = environment.get("DOCKER_CONFIG") or str(Path.home() / ".docker")
    try:
        found = json.loads(Path(directory, "config.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def for_image(image: str) -> dict[str, str]:
    """The header, from this person's file."""
    return header(image, read_config(os.environ))
