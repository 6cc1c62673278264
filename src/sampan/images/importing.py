"""The documents of an image made here: by import of a tar, or of a new layer on top of another image. Pure.

The same tar, changes and creation time give the same image id.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sampan.formats import oci
from sampan.formats.digest import Digest
from sampan.images import changes, documents, model


@dataclass(frozen=True, slots=True)
class Base:
    """The image below the new layer."""

    document: Mapping[str, Any]
    layers: Sequence[oci.Descriptor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the new layer came to be. `config` replaces that of the base; `created_ns` is the present."""

    created_ns: int
    platform: oci.Platform
    changes: Sequence[str] = ()
    config: Mapping[str, Any] | None = None
    comment: str = ""
    author: str = ""
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class Documents:
    """Configuration and manifest as they are stored."""

    config: bytes
    manifest: bytes


def compose(recipe: Recipe, diff_id: Digest, tar_size_bytes: int, base: Base | None = None) -> Documents:
    """Raises `InvalidChange`, `RefusedImage` beyond the deepest image."""
    below = base.document if base is not None else {}
    layers = [*(base.layers if base is not None else ()), oci.Descriptor(oci.OCI_LAYER, diff_id, tar_size_bytes)]
    if len(layers) > model.MOST_LAYERS:
        raise documents.RefusedImage("max depth exceeded", why=f"more than {model.MOST_LAYERS} layers")
    config = oci.encode(_configuration(recipe, diff_id, below))
    return Documents(config, manifest(config, layers))


def manifest(config: bytes, layers: Sequence[oci.Descriptor]) -> bytes:
    """The manifest of an image that was made or loaded here."""
    described = oci.descriptor(oci.OCI_CONFIG, config)
    return oci.encode(
        oci.Manifest(schema_version=2, media_type=oci.OCI_MANIFEST, config=described, layers=list(layers))
    )


def _configuration(recipe: Recipe, diff_id: Digest, below: Mapping[str, Any]) -> dict[str, Any]:
    created = timestamp(recipe.created_ns)
    step = {"created": created, "created_by": recipe.created_by, "author": recipe.author, "comment": recipe.comment}
    config = recipe.config if recipe.config is not None else below.get("config") or {}
    platform = {
        "architecture": below.get("architecture") or recipe.platform.architecture,
        "os": below.get("os") or recipe.platform.os,
        "variant": below.get("variant") or recipe.platform.variant,
    }
    return {
        "created": created,
        **({"author": recipe.author} if recipe.author else {}),
        **{name: value for name, value in platform.items() if value},
        "config": changes.apply(recipe.changes, config),
        "rootfs": {"type": "layers", "diff_ids": [*_below_diff_ids(below), diff_id]},
        "history": [*(below.get("history") or []), {name: value for name, value in step.items() if value}],
    }


def _below_diff_ids(below: Mapping[str, Any]) -> list[str]:
    return list(below["rootfs"].get("diff_ids") or []) if below else []


def timestamp(time_ns: int) -> str:
    """RFC 3339 with nanoseconds, as Docker writes it."""
    whole = datetime.datetime.fromtimestamp(time_ns // 1_000_000_000, datetime.UTC)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{time_ns % 1_000_000_000:09d}Z"
