"""SELinux with a policy in a folder: labels of processes and files, and which files may be labelled."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sampan.containers import labels as container_labels
from sampan.containers import spec, wanted
from sampan.containers.model import Container, Phase, State
from sampan.containers.users import Identity
from sampan.host import selinux as files
from sampan.security import confinement, selinux
from sampan.security.confinement import SecurityOptionInvalid
from sampan.security.selinux import Labels, Policy

CONTEXTS = """# a comment
process = "system_u:system_r:container_t:s0"
content = "system_u:object_r:virt_var_lib_t:s0"
file = "system_u:object_r:container_file_t:s0"
"""
POLICY = Policy("system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0")
ID = "c" * 64
LEVEL = selinux.level(ID)


def fake_root(tmp_path: Path, policy: str = "targeted") -> Path:
    (tmp_path / "sys/fs/selinux").mkdir(parents=True)
    (tmp_path / "sys/fs/selinux/enforce").write_text("1")
    place = tmp_path / "etc/selinux" / policy / "contexts"
    place.mkdir(parents=True)
    (place / "lxc_contexts").write_text(CONTEXTS)
    (tmp_path / "etc/selinux/config").write_text(f"# x\nSELINUX=enforcing\nSELINUXTYPE={policy}\n")
    return tmp_path


def test_the_policy_is_found_where_selinux_is_on(tmp_path: Path) -> None:
    assert files.contexts(tmp_path) is None
    text = files.contexts(fake_root(tmp_path, "mls"))
    assert text is not None
    assert selinux.parse_contexts(text) == POLICY


def test_a_policy_without_containers_is_none(tmp_path: Path) -> None:
    (fake_root(tmp_path) / "etc/selinux/targeted/contexts/lxc_contexts").unlink()
    assert files.contexts(tmp_path) == ""
    assert selinux.parse_contexts('process = "a:b:c:s0"\n') is None


@pytest.mark.parametrize(
    ("options", "privileged", "expected"),
    [
        ([], False, (f"system_u:system_r:container_t:{LEVEL}", f"system_u:object_r:container_file_t:{LEVEL}")),
        (
            ["label=type:svirt_apache_t", "label=level:s0:c100,c200"],
            False,
            ("system_u:system_r:svirt_apache_t:s0:c100,c200", "system_u:object_r:container_file_t:s0:c100,c200"),
        ),
        (
            ["label:user:staff_u", "label:role:staff_r", "label:filetype:svirt_sandbox_t"],
            False,
            (f"staff_u:staff_r:container_t:{LEVEL}", f"system_u:object_r:svirt_sandbox_t:{LEVEL}"),
        ),
        (["label=disable"], False, ("", "system_u:object_r:container_file_t:s0:c1022,c1023")),
        ([], True, ("", "system_u:object_r:container_file_t:s0:c1022,c1023")),
        (
            ["no-new-privileges"],
            False,
            (f"system_u:system_r:container_t:{LEVEL}", f"system_u:object_r:container_file_t:{LEVEL}"),
        ),
    ],
)
def test_labels_of_a_container(options: list[str], privileged: bool, expected: tuple[str, str]) -> None:
    assert selinux.labels(POLICY, options, ID, privileged=privileged) == Labels(*expected)


@pytest.mark.parametrize("option", ["label=", "label=type", "label=type:", "label=colour:red"])
def test_a_wrong_label_option_is_refused(option: str) -> None:
    with pytest.raises(SecurityOptionInvalid, match="label"):
        selinux.labels(POLICY, [option], ID, privileged=False)


def test_levels_are_two_ordered_categories_and_differ() -> None:
    levels = [selinux.level(str(number)) for number in range(200)]
    assert len(set(levels)) > 195
    for text in levels:
        low, high = (int(part[1:]) for part in text.removeprefix("s0:").split(","))
        assert 0 <= low < high < selinux.CATEGORIES


def test_the_runtime_gets_both_labels() -> None:
    body = {"Image": "bb", "Cmd": ["true"]}
    container = Container(ID, "web", "sha256:1", Phase.CREATED, wanted.decode_create(body), State(), 0)
    confined = confinement.confine(
        privileged=False, cap_add=(), cap_drop=(), security_opt=(), bounding=frozenset(), machine="x86_64"
    )
    base = {
        "rootfs": "/r",
        "network_namespace": None,
        "identity": Identity(0, 0, (), "/root"),
        "confinement": confined,
        "cgroup_version": 2,
        "cgroup_parent": "sampan",
    }
    document = spec.runtime_configuration(container, spec.Facts(**base, labels=Labels("p", "m")))
    assert (document["process"]["selinuxLabel"], document["linux"]["mountLabel"]) == ("p", "m")
    plain = spec.runtime_configuration(container, spec.Facts(**base))
    assert "selinuxLabel" not in plain["process"]
    assert "mountLabel" not in plain["linux"]


def test_relabelling_takes_everything_below_and_no_link_leads_out(tmp_path: Path) -> None:
    place = tmp_path / "srv"
    (place / "deep").mkdir(parents=True)
    (place / "deep/file").touch()
    (place / "out").symlink_to("/etc")
    seen: dict[str, bytes] = {}

    def setter(path: str, name: str, value: bytes) -> None:
        assert name == "security.selinux"
        seen[path] = value

    files.relabel(place, "a:b:c:s0", protected=selinux.PROTECTED, setter=setter)
    assert set(seen) == {str(place), f"{place}/deep", f"{place}/deep/file", f"{place}/out"}
    assert set(seen.values()) == {b"a:b:c:s0\0"}
    assert selinux.shared("a:b:c:s0:c1,c2") == "a:b:c:s0"


@pytest.mark.parametrize("path", ["/", "/usr", "/etc/", "/var/lib/../lib"])
def test_the_hosts_own_directories_keep_their_labels(path: str) -> None:
    with pytest.raises(files.LabelRefused, match="not allowed"):
        files.relabel(Path(path), "x", protected=selinux.PROTECTED, setter=lambda *_: None)


def test_a_file_system_without_labels_says_so(tmp_path: Path) -> None:
    def refuse(path: str, name: str, value: bytes) -> None:
        raise OSError(errno.ENOTSUP, "no")

    with pytest.raises(files.LabelRefused, match="keeps no labels"):
        files.relabel(tmp_path, "x", protected=selinux.PROTECTED, setter=refuse)
    assert Labels("", "") == container_labels.NO_LABELS
