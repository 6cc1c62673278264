"""From a client's frontend attributes to a build's request. Pure.

Source: moby/buildkit, frontend/dockerui/config.go and attr.go (the names of the attributes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sampan import errors
from sampan.build.model import Limits, Request

FRONTENDS = ("dockerfile.v0", "gateway.v0")  # the second names an image to use: ours is used, and the client told
UPLOAD_HOST = "buildkit-session"  # of contexts that the client serves by `Upload`
_UNTOUCHED = frozenset(
    # What the client says for its own sake, and what our cache and images do not need.
    {
        "cache-from",
        "cache-imports",
        "cmdline",
        "contextkey",
        "dockerfilekey",
        "frontend.caps",
        "image-resolve-mode",
        "input-metadata",
        "local-sessionid",
        "multi-platform",
        "no-cache",
        "requestid",
        "source",
    }
)


class UnsupportedBuild(errors.Unsupported):
    """Something of BuildKit's that this builder does not do."""


class InvalidBuild(errors.Invalid):
    """An option of the build that cannot be meant."""


@dataclass(frozen=True, slots=True)
class NamedContext:
    """`--build-context NAME=…`: a directory of the client's by its name there, or an image."""

    kind: Literal["local", "image"]
    value: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """One build as the client wants it. `upload` is the path of a context that the client sends as one stream."""

    filename: str
    request: Request
    context_name: str
    dockerfile_name: str  # the client's name for the directory of the Dockerfile
    upload: str = ""
    remote: str = ""
    named: Mapping[str, NamedContext] = field(default_factory=dict)
    syntax: str = ""


def decode(attrs: Mapping[str, str], tags: tuple[str, ...]) -> Wanted:
    """Raises: UnsupportedBuild, InvalidBuild."""
    _check(attrs)
    args = _prefixed(attrs, "build-arg:")
    syntax = args.pop("BUILDKIT_SYNTAX", "") or attrs.get("source", "")
    context = attrs.get("context", "")
    upload = context.partition(f"://{UPLOAD_HOST}")[2] if f"://{UPLOAD_HOST}/" in context else ""
    remote = "" if upload or not context or context.startswith("local:") else context
    no_cache = attrs.get("no-cache")
    named = _named(attrs)
    request = Request(
        dockerfile_name=attrs.get("filename") or "Dockerfile",
        target=attrs.get("target", ""),
        build_args=dict(args),
        labels=_prefixed(attrs, "label:"),
        tags=tags,
        no_cache=no_cache == "",
        no_cache_stages=frozenset(name.strip() for name in (no_cache or "").split(",") if name.strip()),
        pull=attrs.get("image-resolve-mode") == "pull",
        platform=_platform(attrs.get("platform", "")),
        limits=Limits(
            shm_size_bytes=_number(attrs, "shm-size"),
            cgroup_parent=attrs.get("cgroup-parent", ""),
            ulimits=tuple(_ulimits(attrs.get("ulimit", ""))),
        ),
        network_mode=_network(attrs.get("force-network-mode", "")),
        extra_hosts=tuple(host.replace("=", ":", 1) for host in _words(attrs.get("add-hosts", ""))),
        source_date_epoch=_epoch(args.get("SOURCE_DATE_EPOCH", "")),
        hostname=attrs.get("hostname", ""),
        images={name: one.value for name, one in named.items() if one.kind == "image"},
    )
    return Wanted(
        filename=attrs.get("filename") or "Dockerfile",
        request=request,
        context_name=context.removeprefix("local:") if context.startswith("local:") else "context",
        dockerfile_name=attrs.get("dockerfilekey", "") or "dockerfile",
        upload=upload,
        remote=remote,
        named=named,
        syntax=syntax,
    )


def tags_of(name: str) -> tuple[str, ...]:
    """The exporter's `name`: references between commas."""
    return tuple(_words(name))


def _check(attrs: Mapping[str, str]) -> None:
    for key, value in attrs.items():
        if key.startswith("attest:"):
            if value not in ("", "disabled=true") and "disabled=true" not in value.split(","):
                raise UnsupportedBuild(f"attestations are not made ({key})", remedy="build without --attest")
        elif not key.startswith(("vcs:", "build-arg:", "label:", "context:")) and key not in _KNOWN | _UNTOUCHED:
            raise UnsupportedBuild(f"the frontend option {key[:100]!r} is not known")


_KNOWN = frozenset(
    {
        "add-hosts",
        "cgroup-parent",
        "context",
        "filename",
        "force-network-mode",
        "hostname",
        "platform",
        "shm-size",
        "target",
        "ulimit",
    }
)


def _prefixed(attrs: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in attrs.items() if key.startswith(prefix)}


def _words(text: str) -> list[str]:
    return [word for part in text.split(",") if (word := part.strip())]


def _platform(text: str) -> str:
    platforms = _words(text)
    if len(platforms) > 1:
        raise UnsupportedBuild(
            "a build makes an image of one platform", why=f"asked for {text[:100]}", remedy="build once for each"
        )
    return platforms[0] if platforms else ""


def _number(attrs: Mapping[str, str], key: str) -> int:
    text = attrs.get(key, "")
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise InvalidBuild(f"invalid value {text[:50]!r} for {key}")
    return int(text)


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or len(text) > 12:
        raise InvalidBuild(f"invalid SOURCE_DATE_EPOCH: {text[:50]}", remedy="use seconds since 1970")
    return int(text)


def _ulimits(text: str) -> list[tuple[str, int, int]]:
    found = []
    for word in _words(text):
        name, _, values = word.partition("=")
        soft, _, hard = values.partition(":")
        try:
            found.append((name, int(soft), int(hard or soft)))
        except ValueError as error:
            raise InvalidBuild(f"invalid ulimit {word[:50]!r}", remedy="use NAME=SOFT:HARD") from error
    return found


def _network(mode: str) -> str:
    if mode in ("", "default", "bridge", "none", "host"):
        return "" if mode in ("", "default", "bridge") else mode
    raise UnsupportedBuild(f'network mode "{mode[:100]}" not supported by buildkit', remedy="use none, host or default")


def _named(attrs: Mapping[str, str]) -> dict[str, NamedContext]:
    found = {}
    for key, value in attrs.items():
        if not key.startswith("context:"):
            continue
        name = key.removeprefix("context:")
        scheme, _, rest = value.partition(":")
        if scheme == "local":
            found[name] = NamedContext("local", rest)
        elif scheme == "docker-image":
            found[name] = NamedContext("image", rest.removeprefix("//"))
        else:
            raise UnsupportedBuild(f"the build context {name[:100]!r} is not supported", why=value[:200])
    return found
