"""Where a registry answers, and how far it is trusted: scheme, certificates, our own registry.

Plain HTTP is allowed for loopback addresses, `localhost` and what the settings call insecure (a host, host:port, or a
network in CIDR form); there https is tried first without checking certificates, as Docker does. Everything else is
https with certificates checked against the system's authorities or `/etc/docker/certs.d/<host:port>/*.crt`.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.formats import reference
from sampan.host import http

ENGINE_HEADER = "Sampan-Engine"  # says to our own registry: this comes from the engine beside it
_HUB = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the daemon's configuration says about registries.

    `own_registry` maps the addresses of this daemon's registry ("127.0.0.1:5000") to the secret of `ENGINE_HEADER`;
    `token_servers` maps a registry's host to a further host that may see its credentials.
    """

    insecure_registries: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()  # URLs of registries that are asked before Docker Hub
    own_registry: Mapping[str, str] = field(default_factory=dict)
    token_servers: Mapping[str, str] = field(default_factory=dict)
    certs_directory: Path | None = None
    user_agent: str = "sampan"


@dataclass(frozen=True, slots=True)
class Choice:
    """URLs to try in order, and whether certificates are checked."""

    bases: tuple[str, ...]
    verify: bool


def choose(host: str, settings: Settings) -> Choice:
    """How to reach the registry that references call `host`."""
    if host in settings.own_registry:
        return Choice((f"http://{host}",), verify=True)
    address = _HUB if host == reference.DEFAULT_HOST else host
    if is_insecure(host, settings.insecure_registries):
        return Choice((f"https://{address}", f"http://{address}"), verify=False)
    return Choice((f"https://{address}",), verify=True)


def mirrors(host: str, settings: Settings) -> tuple[str, ...]:
    """What is asked before the registry that references call `host`."""
    return tuple(url.rstrip("/") for url in settings.mirrors) if host == reference.DEFAULT_HOST else ()


def choose_mirror(url: str, settings: Settings) -> Choice:
    """How to reach a mirror: as its URL says."""
    return Choice((url,), verify=not is_insecure(url.partition("://")[2], settings.insecure_registries))


def host_of(server: str) -> str:
    """A registry's host from what a login names: `ship:5000`, `https://ship:5000/v2/`, or Docker Hub's old address."""
    bare = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return reference.DEFAULT_HOST if bare in ("", "index.docker.io", _HUB) else bare


def is_insecure(host: str, insecure: tuple[str, ...]) -> bool:
    """Whether `host` (with its port) may be spoken to in the clear."""
    name = _without_port(host)
    if name == "localhost" or host in insecure or name in insecure:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    return any(address in network for network in map(_network, insecure) if network is not None)


def tls_context(origin: http.Origin, host: str, choice: Choice, settings: Settings) -> ssl.SSLContext:
    """Certificates for a connection to `origin`; those of the registry `host` only for the registry itself."""
    context = ssl.create_default_context()
    if origin not in map(http.Origin.of, choice.bases):
        return context  # a token server or a redirect: always checked
    if not choice.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    folder = settings.certs_directory / host if settings.certs_directory is not None else None
    if folder is not None and folder.is_dir():
        for authority in sorted(folder.glob("*.crt")):
            context.load_verify_locations(authority)
        for certificate in sorted(folder.glob("*.cert")):
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    return context


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    if "/" not in text:
        return None
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
