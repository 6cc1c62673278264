"""How a registry asks who we are, and who may see the answer. Pure.

A token server gets name and password only if it is the registry's own host, a parent domain of it over https, or named
in the settings: a registry must not be able to send a client's password to a host of its choice (CVE-2020-15157).
Source: RFC 9110 section 11.6.1; the distribution project's token authentication specification.
"""

from __future__ import annotations

import base64
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass

from sampan import errors
from sampan.images import model

_PARAMETER = re.compile(r'\s*([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))\s*(?:,|$)')
KNOWN_REALMS = {"registry-1.docker.io": "auth.docker.io"}


class RealmRefused(errors.Forbidden):
    """The registry's token server may not see the credentials."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One `WWW-Authenticate` header: scheme in lower case and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse(header: str) -> Challenge:
    """Reads `Bearer realm="…",service="…"` and `Basic realm="…"`. Unreadable parameters are left out."""
    scheme, _, rest = header.strip().partition(" ")
    parameters = {match[1].lower(): match[2] or match[3] or "" for match in _PARAMETER.finditer(rest)}
    return Challenge(scheme.lower(), parameters)


def basic(credentials: model.Credentials) -> str:
    """The value of an `Authorization` header."""
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def token_url(challenge: Challenge, scope: str, account: str) -> str:
    """Where to get a token by GET."""
    query = {"service": challenge.parameters.get("service", ""), "scope": scope, "account": account}
    realm = challenge.parameters.get("realm", "")
    joint = "&" if "?" in realm else "?"
    return realm + joint + urllib.parse.urlencode({name: value for name, value in query.items() if value})


def check_realm(
    realm: str, registry_url: str, *, with_credentials: bool, known: Mapping[str, str] | None = None
) -> None:
    """Raises `RealmRefused` unless the token server may be asked, with credentials or without.

    `known` maps a registry's host to the further host that may see its credentials.
    """
    asked, registry = urllib.parse.urlsplit(realm), urllib.parse.urlsplit(registry_url)
    host, registry_host = (asked.hostname or "").lower(), (registry.hostname or "").lower()
    if asked.scheme == "http" and (registry.scheme == "https" or host != registry_host):
        raise RealmRefused(f"the token server {realm[:200]} of {registry_host} is not encrypted")
    if asked.scheme not in ("http", "https") or not host:
        raise RealmRefused(f"{registry_host} names {realm[:200]!r} as its token server", why="that is no web address")
    if not with_credentials or host == registry_host or host == {**KNOWN_REALMS, **(known or {})}.get(registry_host):
        return
    if asked.scheme == "https" and host.count(".") >= 1 and registry_host.endswith("." + host):
        return
    raise RealmRefused(
        f"{registry_host} wants the password sent to {host}",
        why="a token server on another host gets credentials only if the settings name it",
        remedy=f"pull without credentials, or let {registry_host} name a token server of its own domain",
    )
