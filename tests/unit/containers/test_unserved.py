"""What is not served is refused by name, and defaults are never taken for a wish."""

import pytest

from sampan.containers import unserved, wanted
from sampan.containers.unserved import OptionUnserved


@pytest.mark.parametrize(
    ("body", "option"),
    [
        ({"UsernsMode": "private"}, "invalid userns mode"),
        ({"StorageOpt": {"size": "1g"}}, "--storage-opt"),
        ({"CpuRealtimeRuntime": 5}, "--cpu-rt-runtime"),
        ({"Isolation": "hyperv"}, "linux only supports 'default'"),
        (
            {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]},
            r'could not select device driver "" with capabilities: \[\[gpu\]\]',
        ),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["x.com/y=z"]}]}, r'driver "cdi" with capabilities: \[\]'),
    ],
)
def test_an_option_that_is_not_served_is_named(body: dict[str, object], option: str) -> None:
    with pytest.raises(OptionUnserved, match=option):
        unserved.check(wanted.decode_host(body), realtime=False)


DEFAULTS = [{}, {"Init": True}, {"UsernsMode": "host"}, {"Isolation": "default"}, {"VolumeDriver": "local"}]


@pytest.mark.parametrize("body", DEFAULTS)
def test_a_default_asks_for_nothing(body: dict[str, object]) -> None:
    unserved.check(wanted.decode_host(body), realtime=False)


def test_a_volume_has_the_local_driver() -> None:
    for name in ("", "local"):
        unserved.check_volume_driver(name)
    with pytest.raises(OptionUnserved, match='error looking up volume plugin nfs: plugin "nfs" not found'):
        unserved.check_volume_driver("nfs")


def test_real_time_needs_a_runtime_within_its_period() -> None:
    unserved.check(wanted.decode_host({"CpuRealtimeRuntime": 5, "CpuRealtimePeriod": 10}), realtime=True)
    with pytest.raises(OptionUnserved, match="cannot be higher"):
        unserved.check(wanted.decode_host({"CpuRealtimeRuntime": 11, "CpuRealtimePeriod": 10}), realtime=True)
