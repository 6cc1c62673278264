"""Cache keys cover what decides a step; prune chooses as dockerd does."""

from __future__ import annotations

import pytest

from sampan.build import keys, pruning
from sampan.build.model import CacheEntry

NS = 10**9


def test_a_key_is_another_for_each_fact_and_for_another_parent() -> None:
    base = keys.key("run", "p", words=["a", "b"], x="1")
    assert base == keys.key("run", "p", x="1", words=["a", "b"])
    others = [
        keys.key("copy", "p", words=["a", "b"], x="1"),
        keys.key("run", "q", words=["a", "b"], x="1"),
        keys.key("run", "p", words=["ab"], x="1"),
        keys.key("run", "p", words=["a", "b"], x=1),
        keys.key("run", "p", words=["a", "b"]),
    ]
    assert len({base, *others}) == 6


def entry(name: str, *, size: int = 1, used: int = 0, shared: bool = False) -> CacheEntry:
    return CacheEntry(
        key=f"sha256:{name}",
        parent="",
        description=f"RUN {name}",
        size_bytes=size,
        created_ns=0,
        used_ns=used * NS,
        uses=1,
        in_use=False,
        shared=shared,
    )


ENTRIES = [entry("new", used=100), entry("old", used=10), entry("both", used=50, shared=True)]


@pytest.mark.parametrize(
    ("filters", "everything", "keep", "expected"),
    [
        ({}, False, 0, ["old", "new"]),
        ({}, True, 0, ["old", "both", "new"]),
        ({"until": ("60s",)}, True, 0, ["old"]),
        ({"until": ("30s",)}, True, 0, ["old", "both"]),
        ({"id": ("ne",)}, True, 0, ["new"]),
        ({"shared": ("true",)}, True, 0, ["both"]),
        ({"description": ("RUN old",)}, True, 0, ["old"]),
        ({"type": ("source.local",)}, True, 0, []),
        ({}, False, 1, ["old"]),
        ({}, False, 2, []),
    ],
)
def test_what_a_prune_takes(
    filters: dict[str, tuple[str, ...]], everything: bool, keep: int, expected: list[str]
) -> None:
    chosen = pruning.choose(ENTRIES, filters, now_ns=100 * NS, everything=everything, keep_bytes=keep)
    assert chosen == [f"sha256:{name}" for name in expected]


@pytest.mark.parametrize("filters", [{"nothing": ("x",)}, {"until": ("soon",)}, {"shared": ("perhaps",)}])
def test_filters_that_mean_nothing_are_refused(filters: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(pruning.FilterInvalid):
        pruning.choose(ENTRIES, filters, now_ns=0, everything=True)
