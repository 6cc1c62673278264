"""Names against the image's own files, which may be hostile."""

import pytest

from sampan.containers.users import Identity, UserUnknown, resolve

PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:\nbroken\n\xff\xfe:x:44:44:::\n5:x:77:78::/five:/bin/sh\n"
)
GROUP = b"root:x:0:\nwww:x:33:\nlog:x:4:www,other\nadm:x:9:other\n"


@pytest.mark.parametrize(
    ("text", "identity"),
    [
        ("", Identity(0, 0, (), "/root")),
        ("root", Identity(0, 0, (), "/root")),
        ("www", Identity(33, 33, (4,), "/var/www")),
        ("33", Identity(33, 33, (4,), "/var/www")),
        ("www:adm", Identity(33, 9, (), "/var/www")),
        ("1000", Identity(1000, 0, (), "/")),
        ("1000:1001", Identity(1000, 1001, (), "/")),
        ("5", Identity(77, 78, (), "/five")),
    ],
)
def test_a_user_is_found(text: str, identity: Identity) -> None:
    assert resolve(text, PASSWD, GROUP) == identity


@pytest.mark.parametrize("text", ["nobody", "www:nogroup", str(2**31), "1:99999999999"])
def test_an_unknown_user_is_refused(text: str) -> None:
    with pytest.raises(UserUnknown):
        resolve(text, PASSWD, GROUP)


def test_further_groups_are_added() -> None:
    assert resolve("www", PASSWD, GROUP, ("adm", "1234")).groups == (4, 9, 1234)


def test_an_image_without_files_has_numbers_only() -> None:
    assert resolve("7:8", b"", b"") == Identity(7, 8, (), "/")
    assert resolve("", b"", b"") == Identity(0, 0, (), "/")
    with pytest.raises(UserUnknown):
        resolve("www", b"", b"")
