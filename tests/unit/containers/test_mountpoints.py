"""Every way to write a mount, and the ones that are refused."""

import itertools

import pytest

from sampan.containers import mountpoints, wanted
from sampan.containers.mountpoints import MountInvalid, MountPoint, parse_bind


def names() -> object:
    return map("anon{}".format, itertools.count(1)).__next__


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("/data", MountPoint("volume", "anon1", "/data", anonymous=True)),
        ("v:/data", MountPoint("volume", "v", "/data")),
        ("v:/data:ro", MountPoint("volume", "v", "/data", read_only=True, mode="ro")),
        ("v:/data:nocopy", MountPoint("volume", "v", "/data", copy=False, mode="nocopy")),
        ("/host:/in", MountPoint("bind", "/host", "/in", propagation="rprivate", make_source=True)),
        (
            "/host/../x:/in:rslave",
            MountPoint("bind", "/x", "/in", propagation="rslave", make_source=True, mode="rslave"),
        ),
        ("/h:/in/:z", MountPoint("bind", "/h", "/in", propagation="rprivate", make_source=True, mode="z")),
    ],
)
def test_a_bind_is_read(text: str, point: MountPoint) -> None:
    assert parse_bind(text, names()) == point


@pytest.mark.parametrize(
    "text",
    ["a:b", "v:relative", "/a:/b:/c:d", "/a:/b:fast", ":/b", "/a:", "bad name:/x", "../x:/y", "/a:/", "/a:/b:ro,rw"],
)
def test_a_wrong_bind_is_refused(text: str) -> None:
    with pytest.raises(MountInvalid):
        parse_bind(text, names())


def test_one_place_takes_one_mount() -> None:
    host = wanted.decode_host({"Binds": ["v:/d"], "Tmpfs": {"/d": ""}})
    with pytest.raises(MountInvalid, match="Duplicate mount point"):
        mountpoints.collect(host, (), names())


def test_an_option_takes_the_place_of_the_images_volume_and_parents_come_first() -> None:
    host = wanted.decode_host(
        {
            "Binds": ["v:/data/deep"],
            "Mounts": [
                {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096, "Mode": 0o700}},
                {"Type": "bind", "Source": "/h", "Target": "/data", "ReadOnly": True},
            ],
        }
    )
    points = mountpoints.collect(host, ("/data", "/other"), names())
    assert [(point.kind, point.source, point.destination) for point in points] == [
        ("tmpfs", "", "/t"),
        ("bind", "/h", "/data"),
        ("volume", "anon1", "/other"),
        ("volume", "v", "/data/deep"),
    ]
    assert points[0].options == "size=4096,mode=700"


@pytest.mark.parametrize(
    "mount",
    [
        {"Type": "bind", "Source": "relative", "Target": "/x"},
        {"Type": "npipe", "Target": "/x"},
        {"Type": "volume", "Source": "a/b", "Target": "/x"},
        {"Type": "volume", "Source": "v", "Target": "x"},
    ],
)
def test_a_wrong_long_form_is_refused(mount: dict[str, object]) -> None:
    with pytest.raises(MountInvalid):
        mountpoints.collect(wanted.decode_host({"Mounts": [mount]}), (), names())
