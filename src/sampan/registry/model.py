"""Values of the registry, and the ways in which a request of it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sampan import errors
from sampan.formats import reference
from sampan.formats.digest import Digest


class NameInvalid(errors.Invalid):
    """Not a repository name."""


class TagInvalid(errors.Invalid):
    """Not a tag."""


class RepositoryUnknown(errors.NotFound):
    """No such repository."""


class ManifestUnknown(errors.NotFound):
    """The repository has no such manifest or tag."""


class RepositoryBlobUnknown(errors.NotFound):
    """The repository shows no such blob."""


class ManifestInvalid(errors.Invalid):
    """A manifest that cannot be what it says it is."""


class ManifestTooLarge(errors.Invalid):
    """A manifest over the limit."""


class ManifestBlobUnknown(errors.Invalid):
    """A manifest names a blob or a manifest that its repository does not have."""


class SizeMismatch(errors.Invalid):
    """A length that was announced is not the length there is."""


class UploadUnknown(errors.NotFound):
    """No such upload in this repository."""


class UploadBusy(errors.Conflict):
    """Another request is sending to this upload."""


class OutOfOrder(errors.Invalid):
    """A chunk does not begin where the upload ends."""


class DeletionDisabled(errors.Unsupported):
    """This registry is configured to delete nothing."""


class StorageFull(errors.Unavailable):
    """No room for the content."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A manifest of a repository."""

    digest: Digest
    media_type: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of a pushed manifest. `subject` is set if it refers to another one."""

    digest: Digest
    subject: Digest | None
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Referrer:
    """A manifest that has a subject."""

    digest: Digest
    media_type: str
    size_bytes: int
    artifact_type: str
    annotations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UploadStatus:
    """An upload between two requests."""

    id: str
    repository: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Page:
    """Part of an ordered list of names. `more`: there are others after the last one."""

    names: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed."""

    uploads: int
    repository_blobs: int
    repositories: int
    bytes_freed: int


def check_repository(name: str) -> str:
    """The name, if it is one. Raises `NameInvalid`."""
    if not reference.is_repository(name):
        raise NameInvalid(
            f"invalid repository name {name[:80]!r}",
            remedy=f"use lower-case letters, digits, separators . _ - and /, up to {reference.LONGEST_NAME} characters",
        )
    return name


def check_tag(text: str) -> str:
    """The tag, if it is one. Raises `TagInvalid`."""
    if not reference.is_tag(text):
        raise TagInvalid(f"invalid tag {text[:80]!r}", remedy="use up to 128 letters, digits, and . _ -")
    return text


def check_reference(text: str) -> Digest | str:
    """A digest (it has a colon) or a tag. Raises `InvalidDigest`, `TagInvalid`."""
    return Digest.parse(text) if ":" in text else check_tag(text)
