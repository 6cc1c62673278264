"""What is not served is refused by name, and defaults are never taken for a wish."""

import pytest

from sampan.containers import unserved, wanted
from sampan.containers.unserved import OptionUnserved


@pytest.mark.parametrize(
    ("body", "option"),
    [
        ({"Init": True}, "--init"),
        ({"Links": ["a:b"]}, "--link"),
        ({"UsernsMode": "private"}, "--userns"),
        ({"StorageOpt": {"size": "1g"}}, "--storage-opt"),
        ({"VolumeDriver": "nfs"}, "--volume-driver"),
        ({"CgroupParent": "/x"}, "--cgroup-parent"),
        ({"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]}, "--device-read-bps"),
        ({"CpuRealtimeRuntime": 5}, "--cpu-rt-runtime"),
    ],
)
def test_an_option_that_is_not_served_is_named(body: dict[str, object], option: str) -> None:
    with pytest.raises(OptionUnserved, match=option):
        unserved.check(wanted.decode_host(body))


@pytest.mark.parametrize("body", [{}, {"Init": False}, {"UsernsMode": "host"}, {"Isolation": "default"}])
def test_a_default_asks_for_nothing(body: dict[str, object]) -> None:
    unserved.check(wanted.decode_host(body))
