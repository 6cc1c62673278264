"""Where a stage stands after a step: its layers, its configuration, its history, and the key of all that. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sampan.formats import oci
from sampan.images import model, platforms, store

COMMENT = "buildkit.dockerfile.v0"  # what tools look for to tell that `created_by` is an instruction


@dataclass(frozen=True, slots=True)
class State:
    """`layers` lowest first; `base` is the image at the very bottom, if there is one."""

    key: str
    platform: oci.Platform
    layers: tuple[store.Layer, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    created: str = ""  # RFC 3339
    author: str = ""
    base: model.Image | None = None

    def after(
        self, key: str, created_by: str, created: str, layer: store.Layer | None, *, config: Mapping[str, Any]
    ) -> State:
        """The state after one more step."""
        entry: dict[str, Any] = {
            "created": created,
            "created_by": created_by,
            "comment": COMMENT,
            **({} if layer else {"empty_layer": True}),
        }
        return replace(
            self,
            key=key,
            layers=(*self.layers, layer) if layer else self.layers,
            config=config,
            history=(*self.history, entry),
            created=created,
        )

    def document(self, labels: Mapping[str, str]) -> dict[str, Any]:
        """The image's configuration document. The same state gives the same bytes."""
        config = dict(self.config)
        if labels:
            config["Labels"] = {**(config.get("Labels") or {}), **labels}
        platform = self.platform
        return {
            "created": self.created,
            **({"author": self.author} if self.author else {}),
            "architecture": platform.architecture,
            "os": platform.os,
            **({"variant": platform.variant} if platform.variant else {}),
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
            "history": list(self.history),
        }


def of_image(image: model.Image, layers: tuple[store.Layer, ...], key: str, config: Mapping[str, Any]) -> State:
    """A stage that begins with an image."""
    document = image.document
    return State(
        key=key,
        platform=image.platform,
        layers=layers,
        config=config,
        history=tuple(document.get("history") or ()),
        created=image.created,
        author=str(document.get("author") or ""),
        base=image,
    )


def platform_of(text: str, host: oci.Platform) -> oci.Platform:
    """A platform that was asked for, or the host's. Raises `InvalidPlatform`."""
    return platforms.parse(text) if text else host


def is_base(state: State) -> bool:
    """Whether nothing was done to the base: then the image is the base itself."""
    base = state.base
    if base is None:
        return False
    below = base.document.get("config") or {}
    same = {name: value for name, value in state.config.items() if value} == {
        name: value for name, value in below.items() if value
    }
    return (
        same and len(state.layers) == len(base.layers) and len(state.history) == len(base.document.get("history") or ())
    )
