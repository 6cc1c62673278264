"""What clients of older versions are answered."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.api.engine import versions


@pytest.mark.parametrize(
    ("version", "members"),
    [
        ((1, 47), set()),
        ((1, 45), set()),
        ((1, 44), {"Container", "ContainerConfig"}),
        ((1, 43), {"Container", "ContainerConfig", "VirtualSize", "Created"}),
        ((1, 24), {"Container", "ContainerConfig", "VirtualSize", "Created"}),
    ],
)
def test_an_image_has_the_members_of_the_version(version: versions.Version, members: set[str]) -> None:
    answer = versions.adapted("image", version, {"Size": 7, "Config": {"Cmd": ["sh"]}})
    assert set(answer) - {"Size", "Config"} == members
    assert answer.get("VirtualSize", 7) == 7
    assert answer.get("Created", "0001-01-01T00:00:00Z") == "0001-01-01T00:00:00Z"


def test_an_image_without_a_name_was_called_none() -> None:
    def listed(version: versions.Version, **names: list[str]) -> dict[str, Any]:
        return versions.adapted("image in a list", version, {"Size": 1, "RepoTags": [], "RepoDigests": [], **names})

    assert listed((1, 42))["RepoTags"] == ["<none>:<none>"]
    assert listed((1, 42))["RepoDigests"] == ["<none>@<none>"]
    assert listed((1, 43))["RepoTags"] == []
    assert listed((1, 42), RepoTags=["a:1"])["RepoTags"] == ["a:1"]


def test_the_prefix_of_the_path_decides(engine_harbour: Any) -> None:
    for prefix, expected in (("/v1.41", True), ("/v1.47", False), ("", False)):
        (image,) = engine_harbour.call("GET", f"{prefix}/images/json")[1]
        assert ("VirtualSize" in image) is expected
        assert ("ContainerConfig" in engine_harbour.call("GET", f"{prefix}/images/busybox/json")[1]) is expected
