"""What a wish leaves open comes from the daemon's settings; what it says stays."""

from __future__ import annotations

import pytest

from sampan.containers import defaulting, wanted
from sampan.containers.wanted import HostConfig

WISH = defaulting.Wish(
    log_driver="json-file",
    log_options={"max-size": "10m"},
    shm_bytes=1 << 20,
    ipc_mode="shareable",
    cgroupns_mode="host",
    ulimits=(("nofile", 1024, 4096),),
)


def test_nothing_changes_without_settings() -> None:
    assert defaulting.fill(HostConfig(), defaulting.NOTHING) == HostConfig()


def test_gaps_are_filled() -> None:
    filled = defaulting.fill(HostConfig(), WISH)
    assert (filled.shm_size, filled.ipc_mode, filled.cgroupns_mode) == (1 << 20, "shareable", "host")
    assert [(limit.name, limit.soft, limit.hard) for limit in filled.ulimits] == [("nofile", 1024, 4096)]
    assert (filled.log_config.type, filled.log_config.config) == ("json-file", {"max-size": "10m"})


def test_a_wish_of_its_own_stays() -> None:
    body = {
        "ShmSize": 5,
        "IpcMode": "host",
        "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    }
    filled = defaulting.fill(wanted.decode_host(body), WISH)
    assert (filled.shm_size, filled.ipc_mode, len(filled.ulimits)) == (5, "host", 1)
    assert filled.log_config.config == {"max-size": "1m"}


@pytest.mark.parametrize("driver", ["none", "local"])
def test_log_options_go_with_their_driver_only(driver: str) -> None:
    asked = wanted.decode_host({"LogConfig": {"Type": driver, "Config": {}}})
    assert defaulting.fill(asked, WISH).log_config.config == {}
