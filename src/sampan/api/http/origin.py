"""Which browsers' pages may talk to a face on TCP. Pure.

A page of another site can make a browser send requests here, and by DNS rebinding even read the answers. So a request
with a foreign `Origin` is refused unless that origin was allowed, and a `Host` must be an address or a name that was
allowed. Over a Unix socket neither applies: no browser gets there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

READS = frozenset({"GET", "HEAD", "OPTIONS"})


def refusal(
    method: str, hosts: Sequence[str], origins: Sequence[str], allowed: Sequence[str], *, own_name: str = ""
) -> str:
    """Why the request is refused, or "". `hosts` and `origins` are all headers of that name, `allowed` origins.

    `own_name` is this host's.
    """
    if len(hosts) > 1 or len(origins) > 1:
        return "more than one Host or Origin header"
    host = hosts[0] if hosts else ""
    if host and not _is_own(host, own_name) and not any(urlsplit(origin).netloc == host for origin in allowed):
        return f"the Host header {host[:100]!r} names neither an address nor an allowed name"
    if not origins:
        return ""
    origin = origins[0]
    if origin in allowed or ("*" in allowed and method in READS) or urlsplit(origin).netloc == host:
        return ""
    return f"requests from pages of {origin[:100]!r} are not allowed"


def _is_own(host: str, own_name: str) -> bool:
    """Whether a Host header is this host's name, an address, or a name without a dot: what DNS rebinding cannot be."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if "." not in name or name.endswith(".localhost"):
        return True
    # Only the whole name: whoever knows it can publish a name that begins with it.
    if own_name and name == own_name.lower():
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
