"""Which capabilities remain after --cap-add, --cap-drop and --privileged, and never more than this host has."""

import pytest

from sampan.security import capabilities
from sampan.security.capabilities import DEFAULT, NAMES, CapabilityUnknown, effective

EVERYTHING = frozenset(NAMES)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], [], DEFAULT),
        (["NET_ADMIN"], [], DEFAULT | {"NET_ADMIN"}),
        (["cap_net_admin"], [], DEFAULT | {"NET_ADMIN"}),
        ([], ["MKNOD", "CAP_KILL"], DEFAULT - {"MKNOD", "KILL"}),
        ([], ["ALL"], frozenset()),
        (["NET_BIND_SERVICE"], ["ALL"], frozenset({"NET_BIND_SERVICE"})),
        (["ALL"], [], EVERYTHING),
        (["ALL"], ["SYS_ADMIN"], EVERYTHING - {"SYS_ADMIN"}),
        (["MKNOD"], ["MKNOD"], DEFAULT - {"MKNOD"}),
    ],
)
def test_options_add_up(add: list[str], drop: list[str], expected: frozenset[str]) -> None:
    assert effective(add, drop, privileged=False, bounding=EVERYTHING) == expected


def test_privileged_means_all_this_host_has() -> None:
    bounding = EVERYTHING - {"SYS_RESOURCE"}
    assert effective([], ["ALL"], privileged=True, bounding=bounding) == bounding


def test_nobody_gets_what_the_host_has_not() -> None:
    bounding = EVERYTHING - {"SYS_RESOURCE"}
    assert "SYS_RESOURCE" not in effective(["SYS_RESOURCE"], [], privileged=False, bounding=bounding)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(CapabilityUnknown, match="FLY"):
        effective(["FLY"], [], privileged=False, bounding=EVERYTHING)


def test_the_mask_of_the_default_set_is_the_one_containers_have_had_for_years() -> None:
    assert capabilities.from_mask(0xA80425FB) == DEFAULT
