"""The options of the driver local, as a table."""

import pytest

from sampan.volumes import options
from sampan.volumes.options import OptionInvalid, Wanted


@pytest.mark.parametrize(
    ("given", "mount"),
    [
        ({}, None),
        (
            {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=700"},
            Wanted("tmpfs", "tmpfs", 0, "size=1m,mode=700"),
        ),
        ({"type": "none", "device": "/srv", "o": "bind"}, Wanted("/srv", "", 4096)),
        ({"type": "none", "device": "/srv", "o": "rbind,ro"}, Wanted("/srv", "", 4096 | 16384 | 1)),
        ({"type": "ext4", "device": "/dev/sdb1", "o": "ro,noatime,rw"}, Wanted("/dev/sdb1", "ext4", 1024)),
        (
            {"type": "nfs", "device": ":/x", "o": "addr=store,nolock"},
            Wanted(":/x", "nfs", 0, "addr=store,nolock", "store"),
        ),
    ],
)
def test_options_become_one_mount(given: dict[str, str], mount: Wanted | None) -> None:
    options.check(given)
    assert options.wanted(given) == mount


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"colour": "red"}, "invalid option: 'colour'"),
        ({"size": "1g"}, "no quota support"),
        ({"type": "nfs"}, 'missing required option: "device"'),
        ({"device": "/x"}, 'missing required option: "type"'),
        ({"o": "ro"}, 'missing required option: "device"'),
        ({"type": "none", "device": "/a\0b"}, "NUL"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(OptionInvalid, match=said):
        options.check(given)


def test_a_servers_name_gives_way_to_its_number() -> None:
    mount = Wanted(":/x", "nfs", 0, "nolock,addr=store,ro2", "store")
    assert options.with_address(mount, "10.0.0.1") == "nolock,addr=10.0.0.1,ro2"
