"""ARG and ENV: which value a name has where. Pure.

Source: the Dockerfile reference, "Understand how ARG and FROM interact", "Predefined ARGs".
"""

from __future__ import annotations

from collections.abc import Mapping

from sampan.formats import dockerfile_words, oci

PROXIES = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)


def platform_args(target: oci.Platform, host: oci.Platform, *, stage: str = "") -> dict[str, str]:
    """TARGETPLATFORM and its kin."""
    found = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("TARGET", target), ("BUILD", host)):
        parts = [part for part in (platform.os, platform.architecture, platform.variant) if part]
        found[f"{prefix}PLATFORM"] = "/".join(parts)
        found[f"{prefix}OS"] = platform.os
        found[f"{prefix}ARCH"] = platform.architecture
        found[f"{prefix}VARIANT"] = platform.variant
    return found


def value_of(
    name: str,
    default: str | None,
    build_args: Mapping[str, str],
    variables: Mapping[str, str],
    escape: str,
    *,
    outer: Mapping[str, str] | None = None,
) -> str | None:
    """What ARG gives a name: the client's value, else the default, else that of `outer` (global ones), else None."""
    if name in build_args:
        return build_args[name]
    if default is not None:
        return dockerfile_words.expand(default, variables, escape)
    return (outer or {}).get(name)


def proxies(build_args: Mapping[str, str]) -> dict[str, str]:
    """What RUN gets without a declaration, and what no key and no history knows."""
    return {name: value for name, value in build_args.items() if name in PROXIES}
