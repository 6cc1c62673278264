"""The runtime configuration, from a wish and the facts of a host."""

import dataclasses
from typing import Any

import pytest

from sampan.containers import resources, spec, wanted
from sampan.containers.model import Container, Phase, State
from sampan.containers.users import Identity
from sampan.security import confinement
from sampan.security.capabilities import NAMES

ID = "ab" * 32


def container(body: dict[str, Any] | None = None, **host: Any) -> Container:
    whole = {"Image": "bb", "Cmd": ["sh"], **(body or {}), "HostConfig": host}
    return Container(ID, "web", "sha256:" + "0" * 64, Phase.CREATED, wanted.decode_create(whole), State(), 1)


def facts(**changes: Any) -> spec.Facts:
    confined = confinement.confine(
        privileged=False, cap_add=(), cap_drop=(), security_opt=(), bounding=frozenset(NAMES), machine="x86_64"
    )
    base = spec.Facts("/rootfs", "/run/netns/x", Identity(0, 0, (), "/root"), confined, 1, "sampan")
    return dataclasses.replace(base, **changes)


def mounts_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["destination"]: mount for mount in document["mounts"]}


def test_a_plain_container() -> None:
    document = spec.runtime_configuration(container(), facts())
    assert document["process"]["args"] == ["sh"]
    assert document["process"]["cwd"] == "/"
    assert document["hostname"] == ID[:12]
    assert document["root"] == {"path": "/rootfs", "readonly": False}
    kinds = {namespace["type"] for namespace in document["linux"]["namespaces"]}
    assert kinds == {"mount", "pid", "ipc", "uts", "network"}
    assert document["linux"]["cgroupsPath"] == f"/sampan/{ID}"
    assert {"/proc", "/dev", "/dev/pts", "/sys", "/sys/fs/cgroup", "/dev/mqueue", "/dev/shm"} <= set(
        mounts_of(document)
    )
    assert "ro" in mounts_of(document)["/sys"]["options"]


def test_the_environment_has_defaults_that_give_way() -> None:
    item = container({"Env": ["PATH=/mine", "A=b=c", "HOSTNAME"], "Tty": True})
    assert spec.environment(item, Identity(0, 0, (), "/root")) == ["PATH=/mine", "TERM=xterm", "A=b=c", "HOME=/root"]


def test_another_user_holds_no_capability() -> None:
    document = spec.runtime_configuration(container(), facts(identity=Identity(33, 33, (4,))))
    assert document["process"]["capabilities"]["effective"] == []
    assert document["process"]["capabilities"]["bounding"]
    assert document["process"]["user"] == {"uid": 33, "gid": 33, "umask": 0o022, "additionalGids": [4]}


@pytest.mark.parametrize("kind", ["pid", "ipc", "uts"])
def test_a_namespace_can_be_the_hosts_or_anothers(kind: str) -> None:
    key = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode"}[kind]
    of_host = spec.runtime_configuration(container(**{key: "host"}), facts())
    assert kind not in {namespace["type"] for namespace in of_host["linux"]["namespaces"]}
    shared = spec.runtime_configuration(container(**{key: "container:x"}), facts(joined={kind: "/proc/7/ns/x"}))
    assert {"type": kind, "path": "/proc/7/ns/x"} in shared["linux"]["namespaces"]


def test_host_networking_joins_no_network_namespace() -> None:
    document = spec.runtime_configuration(container(NetworkMode="host"), facts(network_namespace=None))
    assert "network" not in {namespace["type"] for namespace in document["linux"]["namespaces"]}


def test_a_bind_hides_a_default_mount_and_children_follow_parents() -> None:
    bound = [spec.BoundPath("/h", "/a/b", read_only=True), spec.BoundPath("/s", "/dev/shm"), spec.BoundPath("/g", "/a")]
    document = spec.runtime_configuration(container(), facts(bound=bound))
    destinations = [mount["destination"] for mount in document["mounts"]]
    assert destinations.index("/a") < destinations.index("/a/b")
    assert mounts_of(document)["/dev/shm"]["source"] == "/s"
    assert "rro" in mounts_of(document)["/a/b"]["options"]


def test_limits_become_resources() -> None:
    host = wanted.decode_host({"Memory": 64 << 20, "NanoCpus": 5 * 10**8, "PidsLimit": 10, "CpuShares": 512})
    result = resources.limits(host, (), all_devices=False)
    assert result["memory"] == {"limit": 64 << 20, "swap": 128 << 20}
    assert result["cpu"] == {"period": 100_000, "quota": 50_000, "shares": 512}
    assert result["pids"] == {"limit": 10}
    assert result["devices"][0] == {"allow": False, "access": "rwm"}


def test_all_devices_are_one_rule() -> None:
    assert resources.limits(wanted.HostConfig(), (), all_devices=True)["devices"] == [{"allow": True, "access": "rwm"}]


@pytest.mark.parametrize(
    ("asked", "most", "given"), [(1024, 20000, 1024), (30000, 20000, 20000), (-1, 20000, 20000), (-1, -1, 2**64 - 1)]
)
def test_a_limit_never_exceeds_the_hosts_own(asked: int, most: int, given: int) -> None:
    item = container(Ulimits=[{"Name": "nofile", "Soft": asked, "Hard": asked}])
    document = spec.runtime_configuration(item, facts(hard_limits={"RLIMIT_NOFILE": most}))
    assert document["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "hard": given, "soft": given}]


@pytest.mark.parametrize("text", ["c 1:3", "x 1:3 rwm", "c 1 rwm", "c 1:3 rwx", ""])
def test_a_wrong_device_rule_is_refused(text: str) -> None:
    with pytest.raises(resources.LimitInvalid):
        resources.parse_rule(text)


def test_a_device_rule_takes_stars() -> None:
    assert resources.parse_rule("c 42:* rw") == {"allow": True, "type": "c", "access": "rw", "major": 42}
