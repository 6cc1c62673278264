"""Settings: spellings old and new, which source wins, and errors that name the option and the remedy."""

from pathlib import Path

import pytest

from sampan.config import load, options
from sampan.config.failures import SettingInvalid
from sampan.config.options import Options

NO_FILE = {"SAMPAN_CONFIG_FILE": "/dev/null"}


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["-g", "/srv"], "data_root", Path("/srv")),
        (["--graph=/srv"], "data_root", Path("/srv")),
        (["--data-root", "/srv"], "data_root", Path("/srv")),
        (["-p", "/run/x.pid"], "pid_file", Path("/run/x.pid")),
        (["-s", "overlay2"], "storage_driver", "overlay2"),
        (["-D"], "debug", True),
        (["-D=true"], "debug", True),
        (["--debug=false"], "debug", False),
        (["-b", "none"], "bridge", "none"),
        (["--bip", "10.9.0.1/16"], "bip", "10.9.0.1/16"),
        (["--icc=false"], "icc", False),
        (["--iptables=false"], "iptables", False),
        (["--mtu=1400"], "mtu", 1400),
        (["--dns", "9.9.9.9", "--dns", "1.1.1.1"], "dns", ["9.9.9.9", "1.1.1.1"]),
        (["-H", "tcp://127.0.0.1:2375", "-H", "unix:///x"], "hosts", ["tcp://127.0.0.1:2375", "unix:///x"]),
        (["-d", "--ip", "127.0.0.1"], "ip", "127.0.0.1"),
        (["--registry-root", "/opt/data/registry"], "registry_root", "/opt/data/registry"),
    ],
)
def test_a_flag_sets_its_setting(arguments: list[str], name: str, value: object) -> None:
    assert getattr(load.load(arguments, NO_FILE), name) == value


def test_without_anything_the_defaults_hold() -> None:
    assert load.load([], NO_FILE) == Options(config_file="/dev/null")


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "sampan.toml"
    file.write_text('mtu = 1300\nicc = false\nip = "10.0.0.1"\ndns = ["9.9.9.9"]\n')
    environment = {"SAMPAN_CONFIG_FILE": str(file), "SAMPAN_MTU": "1350", "SAMPAN_IP": "10.0.0.2"}
    loaded = load.load(["--ip", "10.0.0.3"], environment)
    assert (loaded.mtu, loaded.icc, loaded.ip, loaded.dns) == (1350, False, "10.0.0.3", ["9.9.9.9"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--mtu", "many"], "--mtu"),
        (["--mtu", "10"], "68 to 65535"),
        (["--icc=perhaps"], "use true or false"),
        (["-b", "br9", "--bip", "10.0.0.1/24"], "mutually exclusive"),
        (["--data-root", "relative"], "absolute"),
        (["--log-level", "loud"], "log level"),
        (["--no-such-flag"], "no-such-flag"),
        (["--config-file", "/no/such/file"], "/no/such/file"),
        (["-g", "/x", "--run-root", "/x"], "same directory"),
    ],
)
def test_a_wrong_value_names_the_option(arguments: list[str], complaint: str) -> None:
    environment = {} if "--config-file" in arguments else NO_FILE
    with pytest.raises(SettingInvalid, match=complaint):
        load.load(arguments, environment)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("mtu 1500", "not TOML"), ("speed = 9", "unknown setting 'speed'"), ("dns = 'x'", "list of strings")],
)
def test_a_wrong_file_says_where(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "sampan.toml"
    file.write_text(content)
    with pytest.raises(SettingInvalid, match=complaint):
        load.load(["--config-file", str(file)], {})


def test_help_and_manual_name_every_setting() -> None:
    text, page = load.parser().format_help(), options.manual()
    for row in options.table():
        assert row.metadata["flags"][-1] in text
        assert f"`{row.name}`" in page
