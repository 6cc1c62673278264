"""What one entry of a layer may carry: names, device numbers and extended attributes, judged one at a time. Pure."""

from __future__ import annotations

import struct
from typing import Final

from sampan import errors
from sampan.formats.tar import EntryKind, TarEntry

MAX_COMPONENT: Final = 255  # bytes; NAME_MAX of Linux
MAX_XATTR_NAME: Final = 255
MAX_XATTR_BYTES: Final = 65_535  # in one value; XATTR_SIZE_MAX is one more, EROFS counts in 16 bits
MAX_XATTRS_BYTES: Final = 131_072  # of one entry, names and values; EROFS counts up to 262,140
WHITEOUT: Final = b".wh."

_ACL_NAMES: Final = (b"system.posix_acl_access", b"system.posix_acl_default")
_CAPABILITY: Final = b"security.capability"


class InvalidLayer(errors.Invalid):
    """A layer holds something a layer may not hold. `path` is the entry's name as it stands in the tar."""

    def __init__(self, path: bytes, why: str) -> None:
        shown = path[:200].decode("utf-8", "backslashreplace")
        super().__init__(f"the layer entry {shown!r} is refused", why=why, remedy="build the image again without it")
        self.path = path


def component_fault(part: bytes) -> str:
    if part == b"..":
        return "its name climbs with '..'"
    if part.startswith(WHITEOUT):
        return "a whiteout is not a directory"
    return f"one part of its name is longer than {MAX_COMPONENT} bytes"


def check_device(entry: TarEntry) -> None:
    if not (0 <= entry.dev_major < 1 << 12 and 0 <= entry.dev_minor < 1 << 20):
        raise InvalidLayer(entry.path, f"no device has the number {entry.dev_major}:{entry.dev_minor}")
    if entry.kind is EntryKind.CHAR and entry.dev_major == entry.dev_minor == 0:
        raise InvalidLayer(entry.path, "a 0:0 character device hides files of the layers below; layers use .wh. names")


def judge_xattr(kind: EntryKind, name: bytes, value: bytes) -> tuple[str, bool]:
    """("", False) to keep the attribute; (reason, True) to leave it out; (reason, False) to refuse the layer."""
    if not name or b"\0" in name or len(name) > MAX_XATTR_NAME or len(value) > MAX_XATTR_BYTES:
        return f"the attribute {name[:40]!r} has a bad name or more than {MAX_XATTR_BYTES} bytes", False
    shown = name.decode("utf-8", "backslashreplace")
    if name.startswith((b"trusted.overlay.", b"user.overlay.")):
        return f"{shown} left out: it would redirect or hide files of other layers", True
    if name == _CAPABILITY and not (kind is EntryKind.FILE and _is_capability(value)):
        return "security.capability is malformed or not on a file", False
    if name in _ACL_NAMES:
        sound = len(value) >= 4 and len(value) % 8 == 4 and value[:4] == b"\2\0\0\0" and kind is not EntryKind.SYMLINK
        return ("", False) if sound else (f"{shown} is malformed", False)
    if name.startswith((b"security.", b"trusted.")) and not name.endswith(b"."):
        return "", False
    if name.startswith(b"user.") and name != b"user.":
        plain = kind is EntryKind.FILE or kind is EntryKind.DIRECTORY
        return ("", False) if plain else (f"{shown} left out: only files and directories have user attributes", True)
    return f"{shown} left out: no file system stores it", True


def _is_capability(value: bytes) -> bool:
    """Whether the kernel takes it: revision 2 in 20 bytes, 3 in 24. Source: security/commoncap.c, cap_convert_nscap."""
    if len(value) not in (20, 24):
        return False
    revision = struct.unpack_from("<I", value)[0] & 0xFF00_0000
    return (len(value), revision) in ((20, 0x0200_0000), (24, 0x0300_0000))
