"""Which manifest of an index this host takes. Pure.

Source: OCI image-spec 1.1, image-index.md, platform variants; the Go architecture names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sampan import errors
from sampan.formats import oci

_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
}
_WORD = re.compile(r"[A-Za-z0-9_.-]+\Z")
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class NoMatchingManifest(errors.NotFound):
    """The index has nothing for the wanted platform."""


class InvalidPlatform(errors.Invalid):
    """Not `os[/architecture[/variant]]`."""


def parse(text: str) -> oci.Platform:
    """`linux/arm64/v8`, `linux/amd64`, or an architecture alone. Raises `InvalidPlatform`."""
    parts = text.split("/")
    if len(parts) > 3 or not all(_WORD.match(part) for part in parts):
        raise InvalidPlatform(f"invalid platform {text[:100]!r}", remedy="write os/architecture, as in linux/arm64")
    if len(parts) == 1:
        parts = [parts[0], ""] if parts[0].lower() in ("linux", "windows") else ["linux", parts[0]]
    system, architecture = parts[0].lower(), parts[1].lower()
    architecture, variant = _ALIASES.get(architecture, (architecture, ""))
    return oci.Platform(os=system, architecture=architecture, variant=parts[2].lower() if len(parts) > 2 else variant)


def of_machine(machine: str) -> oci.Platform:
    """The platform of a host whose `uname -m` is `machine`."""
    architecture, variant = _ALIASES.get(machine, (machine, ""))
    return oci.Platform(os="linux", architecture=architecture, variant=variant)


def of_config(document: Mapping[str, Any]) -> oci.Platform:
    """The platform that an image configuration names."""
    names = {name: str(document.get(name) or "") for name in ("os", "architecture", "variant")}
    return oci.Platform(**names)


def describe(platform: oci.Platform) -> str:
    """`linux/arm64/v8`."""
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


def matches(offered: oci.Platform, wanted: oci.Platform) -> bool:
    """Whether `wanted` can run `offered`."""
    return _rank(offered, wanted) is not None


def choose(manifests: Sequence[oci.Descriptor], wanted: oci.Platform) -> oci.Descriptor:
    """The best entry for `wanted`: the highest variant that it can run. Raises `NoMatchingManifest`."""
    best: tuple[int, oci.Descriptor] | None = None
    for entry in manifests:
        rank = _rank(entry.platform, wanted) if entry.platform is not None else None
        if rank is not None and (best is None or rank > best[0]):
            best = (rank, entry)
    if best is None:
        offered = ", ".join(describe(entry.platform) for entry in manifests if entry.platform is not None)
        raise NoMatchingManifest(
            f"no matching manifest for {describe(wanted)} in the manifest list entries",
            why=f"it offers {offered or 'none'}",
        )
    return best[1]


def _rank(offered: oci.Platform, wanted: oci.Platform) -> int | None:
    if (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return None
    default = _DEFAULT_VARIANT.get(wanted.architecture, "")
    has, can = _level(offered.variant or default), _level(wanted.variant or default)
    if has is None or can is None:
        return 0 if (offered.variant or default) == (wanted.variant or default) else None
    return has if has <= can else None


def _level(variant: str) -> int | None:
    return int(variant[1:]) if re.fullmatch(r"v\d{1,2}", variant) else None
