"""What this host's SELinux is like, and labels on files. Blocking.

Source: selinux(8), selinux_config(5).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sampan import errors

ATTRIBUTE: Final = "security.selinux"
Setter = Callable[[str, str, bytes], None]


class LabelRefused(errors.Invalid):
    """A path whose files must keep their labels, or whose file system takes none."""


def contexts(root: Path = Path("/")) -> str | None:
    """The text of the policy's `lxc_contexts`; None where SELinux is not on."""
    if not (root / "sys/fs/selinux/enforce").exists():
        return None
    policy = "targeted"
    settings = root / "etc/selinux/config"
    if settings.exists():
        for line in settings.read_text().splitlines():
            name, equals, value = line.partition("=")
            if equals and name.strip() == "SELINUXTYPE":
                policy = value.strip()
    file = root / "etc/selinux" / policy / "contexts/lxc_contexts"
    return file.read_text() if file.exists() else ""


def _set(path: str, name: str, value: bytes) -> None:
    os.setxattr(path, name, value, follow_symlinks=False)


def relabel(path: Path, label: str, *, protected: frozenset[str], setter: Setter = _set) -> None:
    """Label a file, or a directory with everything below, links themselves and not what they lead to.

    Raises `LabelRefused` for the host's own directories, and where labels are not kept.
    """
    real = os.path.realpath(path)
    if real in protected:
        raise LabelRefused(f"SELinux relabeling of {real} is not allowed", remedy="mount a directory of your own")
    value = label.encode() + b"\0"
    try:
        setter(real, ATTRIBUTE, value)
        for directory, folders, names in os.walk(real):
            for name in (*folders, *names):
                setter(os.path.join(directory, name), ATTRIBUTE, value)  # noqa: PTH118 - os.walk gives strings
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            raise LabelRefused(f"cannot label {real}", why="its file system keeps no labels") from error
        raise LabelRefused(f"cannot label {real}", why=str(error)) from error
