"""The `X-Registry-Auth` header: credentials as base64url of JSON. Pure.

Source: Engine API 1.47, "Authentication".
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from sampan import errors
from sampan.images.model import Credentials

LONGEST = 64 << 10


class InvalidAuth(errors.Invalid):
    """A header that does not hold credentials."""


class AuthConfig(msgspec.Struct, rename="lower"):
    """What clients send."""

    username: str = ""
    password: str = ""
    auth: str = ""
    email: str = ""
    serveraddress: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


def parse(text: str) -> Credentials | None:
    """None for an absent header and for empty credentials. Raises: InvalidAuth."""
    if not text:
        return None
    padded = text.replace("+", "-").replace("/", "_").rstrip("=")
    try:
        content = base64.urlsafe_b64decode(padded + "=" * (-len(padded) % 4))
        config = msgspec.json.decode(content, type=AuthConfig)
    except (binascii.Error, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidAuth("invalid X-Registry-Auth header", why=str(error)) from error
    return Credentials(config.username, config.password, config.identitytoken) or None
