"""Values of the images room: an image and its configuration, progress of a transfer, credentials.

Pure. The configuration is kept as the bytes that were received (their digest is the image's id); `Config` reads the
parts that a container takes over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sampan import errors
from sampan.formats import oci, reference
from sampan.formats.digest import Digest

MOST_LAYERS = 125  # Docker's depth limit; the kernel takes 500 lower directories
LARGEST_CONFIG_BYTES = 8 << 20


class NoSuchImage(errors.NotFound):
    """No image of that name or id on this host."""


class AmbiguousId(errors.Invalid):
    """A shortened id that begins several ids."""


class ImageInUse(errors.Conflict):
    """Containers or other names keep the image."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client sent to log in to a registry. `identity_token` stands for name and password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token)


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of progress, with Docker's words. `id` is a short digest, a tag, or empty for lines of the whole.

    `total_bytes` is 0 where there is nothing to count. `aux` is a result for programs; `stream` is text to be shown as
    it is.
    """

    status: str = ""
    id: str = ""
    current_bytes: int = 0
    total_bytes: int = 0
    aux: Mapping[str, Any] | None = None
    stream: str = ""


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """How to ask a container whether it is well. Times in nanoseconds, 0 for the default."""

    test: tuple[str, ...]
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """What an image asks of its containers. `env` items are `NAME=value`."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One step of how the image was made, newest first in `Images.history`. `image_id` only for the newest."""

    created: str
    created_by: str
    comment: str
    size_bytes: int
    image_id: str = ""
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """One image of this host.

    `references` are full forms (`docker.io/library/busybox:latest`, `…@sha256:…`), sorted; `layers` are diff ids,
    lowest first; `size_bytes` is the content of all layers; `document` is the configuration as it was received.
    """

    id: Digest
    manifest_digest: Digest
    manifest_media_type: str
    references: tuple[str, ...]
    layers: tuple[Digest, ...]
    size_bytes: int
    created_ns: int
    document: Mapping[str, Any]
    config: Config
    parent_id: str = ""  # the image it was committed on, while that is here

    @property
    def tags(self) -> tuple[str, ...]:
        """As Docker prints them: `busybox:latest`."""
        return tuple(reference.parse(text).familiar for text in self.references if "@" not in text)

    @property
    def digests(self) -> tuple[str, ...]:
        """As Docker prints them: `busybox@sha256:…`."""
        return tuple(reference.parse(text).familiar for text in self.references if "@" in text)

    @property
    def dangling(self) -> bool:
        """Whether no tag names it."""
        return not any("@" not in text for text in self.references)

    @property
    def created(self) -> str:
        """When it was made, RFC 3339, as the configuration says; may be empty."""
        return str(self.document.get("created") or "")

    @property
    def platform(self) -> oci.Platform:
        """What it runs on."""
        return oci.Platform(
            architecture=str(self.document.get("architecture") or ""),
            os=str(self.document.get("os") or ""),
            variant=str(self.document.get("variant") or ""),
        )


@dataclass(frozen=True, slots=True)
class Removal:
    """One line of what `rmi` did: `Untagged` a reference or `Deleted` an id."""

    action: str
    target: str


@dataclass(frozen=True, slots=True)
class User:
    """A container that uses an image."""

    container_id: str
    running: bool


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes of all layers once, and what each image adds that no other has."""

    layers_bytes: int
    unique_bytes: Mapping[Digest, int]
    shared_bytes: Mapping[Digest, int]


def parse_config(document: Mapping[str, Any]) -> Config:
    """The `config` part of an image configuration. Missing and null members mean the default."""
    config = _object(document.get("config"))
    return Config(
        entrypoint=_texts(config.get("Entrypoint")),
        cmd=_texts(config.get("Cmd")),
        env=_texts(config.get("Env")),
        user=str(config.get("User") or ""),
        working_dir=str(config.get("WorkingDir") or ""),
        exposed_ports=tuple(sorted(_object(config.get("ExposedPorts")))),
        volumes=tuple(sorted(_object(config.get("Volumes")))),
        labels={str(name): str(value) for name, value in _object(config.get("Labels")).items()},
        stop_signal=str(config.get("StopSignal") or ""),
        shell=_texts(config.get("Shell")),
        on_build=_texts(config.get("OnBuild")),
        healthcheck=_healthcheck(_object(config.get("Healthcheck"))),
    )


def _healthcheck(document: Mapping[str, Any]) -> Healthcheck | None:
    test = _texts(document.get("Test"))
    if not test:
        return None
    return Healthcheck(
        test,
        interval_ns=_number(document.get("Interval")),
        timeout_ns=_number(document.get("Timeout")),
        start_period_ns=_number(document.get("StartPeriod")),
        start_interval_ns=_number(document.get("StartInterval")),
        retries=_number(document.get("Retries")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
