"""Volumes and mounts with all their options, the same at dockerd and at Sampan."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import harbour
from stock import IMAGE, Cli

pytestmark = [pytest.mark.root, pytest.mark.peer]


@pytest.fixture(autouse=True)
def no_volume_stays(docker: Cli) -> Iterator[None]:
    yield
    if left := docker.out("ps", "-aq").split():
        docker("rm", "-f", "-v", *left)
    if volumes := docker.out("volume", "ls", "-q").split():
        docker("volume", "rm", "-f", *volumes)


def sh(docker: Cli, *options: str, script: str) -> str:
    return docker.out("run", "--rm", *options, IMAGE, "sh", "-c", script)


def test_a_tmpfs_volume_lives_as_long_as_somebody_runs_with_it(docker: Cli) -> None:
    words = ("--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m,mode=700")
    docker("volume", "create", *words, "tv")
    docker("run", "-d", "--name", "first", "-v", "tv:/t", IMAGE)
    assert "tmpfs" in docker.out("exec", "first", "sh", "-c", "grep ' /t ' /proc/mounts; echo said > /t/x")
    assert sh(docker, "-v", "tv:/t", script="cat /t/x") == "said"
    docker("rm", "-f", "first")
    assert sh(docker, "-v", "tv:/t", script="ls /t") == ""
    assert docker.out("volume", "inspect", "-f", "{{.Options.o}}", "tv") == "size=1m,mode=700"


def test_a_bind_volume_is_the_directory_and_never_takes_it_along(docker: Cli, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("host")
    docker("volume", "create", "--opt", "type=none", "--opt", f"device={tmp_path}", "--opt", "o=bind", "bv")
    assert sh(docker, "-v", "bv:/b", script="cat /b/kept; echo in > /b/new") == "host"
    docker("volume", "rm", "bv")
    assert (tmp_path / "kept").read_text() == "host"
    assert (tmp_path / "new").read_text() == "in\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("foo=1",), "invalid option"),
        (("type=nfs",), "missing required option"),
        (("size=1g",), "quota"),
    ],
)
def test_driver_options_are_checked(docker: Cli, words: tuple[str, ...], said: str) -> None:
    options = [part for word in words for part in ("--opt", word)]
    assert said in docker("volume", "create", *options, "bad", rc=1)


def test_a_mount_that_fails_stops_the_start_and_leaves_nothing(docker: Cli) -> None:
    docker("volume", "create", "--opt", "type=none", "--opt", "device=/no/such/place", "--opt", "o=bind", "gone")
    output = docker("run", "--name", "vain", "-v", "gone:/x", IMAGE, "true", rc=None)
    assert re.search("failed to (mount local volume|populate volume)", output)
    assert docker.out("inspect", "-f", "{{.State.Status}}", "vain") == "created"
    docker("rm", "vain")
    docker("volume", "rm", "gone")


def test_a_part_of_a_volume(docker: Cli) -> None:
    sh(docker, "-v", "whole:/v", script="mkdir -p /v/a/b; echo in > /v/a/b/f; ln -s /etc /v/l")
    mount = "type=volume,src=whole,dst=/x,volume-subpath="
    assert sh(docker, "--mount", f"{mount}a/b", script="cat /x/f; echo more > /x/g") == "in"
    assert sh(docker, "-v", "whole:/v", script="cat /v/a/b/g") == "more"
    for path in ("missing", "../up", "/abs"):
        assert docker.run("run", "--rm", "--mount", f"{mount}{path}", IMAGE, "true").returncode != 0
    assert "root:" not in docker("run", "--rm", "--mount", f"{mount}l", IMAGE, "cat", "/x/passwd", rc=None)


def test_volumes_are_filled_with_their_owners_and_modes(docker: Cli) -> None:
    assert sh(docker, "-v", "copied:/etc", script="test -f /etc/passwd && echo there") == "there"
    mount = ("--mount", "type=volume,src=bare,dst=/etc,volume-nocopy")
    assert sh(docker, *mount, script="test -f /etc/passwd && echo there || echo bare") == "bare"
    assert sh(docker, "-v", "bare2:/etc:nocopy", script="test -f /etc/passwd && echo there || echo bare") == "bare"
    assert sh(docker, "-v", "sticky:/tmp", script="/bin/busybox stat -c %a /tmp") == sh(
        docker, script="/bin/busybox stat -c %a /tmp"
    )


@pytest.mark.parametrize(
    "options",
    [
        ("-v", "{path}:/x:ro"),
        ("-v", "{path}:/x:ro,z"),
        ("--mount", "type=bind,src={path},dst=/x,readonly"),
        ("--mount", "type=bind,src={path},dst=/x,readonly,consistency=cached"),
    ],
)
def test_a_read_only_bind(docker: Cli, tmp_path: Path, options: tuple[str, str]) -> None:
    output = docker("run", "--rm", *(one.format(path=tmp_path) for one in options), IMAGE, "touch", "/x/y", rc=1)
    assert "Read-only file system" in output


def test_a_tmpfs_of_a_size_and_mode(docker: Cli) -> None:
    mount = ("--mount", "type=tmpfs,dst=/t,tmpfs-size=2m,tmpfs-mode=1700")
    script = "grep ' /t ' /proc/mounts; /bin/busybox stat -c %a /t"
    output = sh(docker, *mount, script=script)
    assert "size=2048k" in output
    assert output.endswith("1700")


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ("type=bind,src=relative,dst=/x", "(?i)invalid mount"),
        ("type=bind,src=/no/such/dir,dst=/x", "bind source path does not exist"),
        ("type=volume,src=v,dst=relative", "(?i)(invalid mount path|must be absolute)"),
        ("type=flying,src=v,dst=/x", "(?i)mount type unknown"),
        ("type=bind,src=/tmp,dst=/", "(?i)destination can't be '/'"),
    ],
)
def test_a_mount_that_cannot_be_meant_is_refused(docker: Cli, mount: str, said: str) -> None:
    assert re.search(said, docker("create", "--mount", mount, IMAGE, rc=None))


def test_volumes_of_another_container(docker: Cli, tmp_path: Path) -> None:
    docker("create", "--name", "giver", "-v", "given:/v", "-v", f"{tmp_path}:/b", "-v", "/anonymous", IMAGE)
    script = "touch /v/x /b/x; ls -d /anonymous"
    assert sh(docker, "--volumes-from", "giver", script=script) == "/anonymous"
    assert "Read-only" in docker("run", "--rm", "--volumes-from", "giver:ro", IMAGE, "touch", "/v/y", rc=1)
    assert (tmp_path / "x").exists()


def test_anonymous_volumes_go_with_rm(docker: Cli) -> None:
    docker("run", "--rm", "-v", "/data", IMAGE, "true")
    docker("run", "--name", "left", "-v", "/data", "-v", "named:/n", IMAGE, "true")
    docker("rm", "-v", "left")
    assert docker.out("volume", "ls", "-q") == "named"


def test_prune_takes_what_nobody_uses(docker: Cli) -> None:
    docker("volume", "create", "--label", "keep=1", "named1")
    docker("volume", "create", "named2")
    anonymous = docker.out("volume", "create")
    docker("create", "--name", "user", "-v", "used:/u", IMAGE)
    assert docker.out("volume", "prune", "-f").splitlines()[1] == anonymous
    docker("volume", "prune", "-f", "-a", "--filter", "label!=keep")
    assert sorted(docker.out("volume", "ls", "-q").split()) == ["named1", "used"]
    docker("volume", "prune", "-f", "-a", "--filter", "label=keep=1")
    assert docker.out("volume", "ls", "-q") == "used"


def test_containers_are_found_by_what_they_mount(docker: Cli, tmp_path: Path) -> None:
    docker("create", "--name", "finder", "-v", "sought:/v", "-v", f"{tmp_path}:/b", IMAGE)
    for value in ("sought", "/v", str(tmp_path), "/b"):
        assert docker.out("ps", "-a", "--filter", f"volume={value}", "--format", "{{.Names}}") == "finder"
    assert docker.out("ps", "-aq", "--filter", "volume=other") == ""


def test_what_is_mounted_below_a_read_only_bind_is_read_only_unless_asked(docker: Cli, tmp_path: Path) -> None:
    """In a mount namespace of its own, where the host's mounts are shared as on a real host."""
    if not docker.ours:
        pytest.skip("about mounts of the host of a daemon of ours")
    with harbour.Harbour(tmp_path / "port") as port:
        top = tmp_path / "top"
        (top / "below").mkdir(parents=True)
        port.host.run(["mount", "-t", "tmpfs", "tmpfs", str(top)])
        port.host.run(["mkdir", str(top / "below")])
        port.host.run(["mount", "-t", "tmpfs", "tmpfs", str(top / "below")])
        port.host.run(["mount", "--make-rshared", str(top)])
        port.start()
        with contextlib.closing(port.client()) as client:
            image = harbour.busybox_image(client, "bb", "1")

            def run(options: dict[str, object], script: str, *, read_only: bool = True) -> str:
                mount = {"Type": "bind", "Source": str(top), "Target": "/x", "ReadOnly": read_only}
                host = client.api.create_host_config(privileged=False)
                host["Mounts"] = [{**mount, "BindOptions": options}]
                made = client.api.create_container(image, ["sh", "-c", script], host_config=host)
                client.api.start(made)
                client.api.wait(made)
                said: bytes = client.api.logs(made)
                client.api.remove_container(made)
                return said.decode()

            write = "touch /x/below/f && echo written"
            assert "Read-only" in run({}, write)
            assert "written" in run({"ReadOnlyNonRecursive": True}, write)
            assert (
                run({"NonRecursive": True}, "ls /x/below; test -e /x/below/f || echo empty", read_only=False)
                == "empty\n"
            )
            # What the host mounts later arrives where it is shared or followed, and nowhere else.
            for propagation, count in (("rshared", 1), ("rslave", 1), ("rprivate", 0)):
                mount = {
                    "Type": "bind",
                    "Source": str(top),
                    "Target": "/x",
                    "BindOptions": {"Propagation": propagation},
                }
                host = client.api.create_host_config()
                host["Mounts"] = [mount]
                made = client.api.create_container(image, ["sleep", "100"], host_config=host)
                client.api.start(made)
                port.host.run(["mkdir", "-p", str(top / "below/late")])
                port.host.run(["mount", "-t", "tmpfs", "late", str(top / "below/late")])
                pid = client.api.inspect_container(made)["State"]["Pid"]
                mounts = port.host.run(["cat", f"/proc/{pid}/mounts"])
                assert mounts.count("/x/below/late") == count, propagation
                port.host.run(["umount", str(top / "below/late")])
                client.api.remove_container(made, force=True)
            host = client.api.create_host_config()
            host["Mounts"] = [
                {"Type": "bind", "Source": "/proc", "Target": "/x", "BindOptions": {"Propagation": "shared"}}
            ]
            made = client.api.create_container(image, ["true"], host_config=host)
            with pytest.raises(Exception, match="not a shared mount"):
                client.api.start(made)


def test_volumes_that_are_mounts_survive_the_daemon(docker: Cli, tmp_path: Path) -> None:
    if not docker.ours:
        pytest.skip("about a daemon of ours")
    with harbour.Harbour(tmp_path / "port") as port:
        port.start()
        with contextlib.closing(port.client()) as client:
            image = harbour.busybox_image(client, "bb", "1")
            options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}
            client.volumes.create("tv", driver="local", driver_opts=options)
            client.containers.run(image, ["sleep", "1000"], name="user", volumes=["tv:/t"], detach=True)
            place = client.volumes.get("tv").attrs["Mountpoint"]
        port.kill()
        port.start()
        with contextlib.closing(port.client()) as client:
            assert f"{place} tmpfs" in port.host.run(["cat", "/proc/mounts"])
            client.containers.run(image, ["true"], remove=True, volumes=["tv:/t"])
            assert f"{place} tmpfs" in port.host.run(["cat", "/proc/mounts"])  # the other one still has it
            client.containers.get("user").restart(timeout=0)
            pid = client.containers.get("user").attrs["State"]["Pid"]
        port.kill()
        port.host.kill(pid)  # it ends while no daemon is there
        port.start()
        assert f"{place} tmpfs" not in port.host.run(["cat", "/proc/mounts"])


def test_of_several_volumes_from_the_last_counts(docker: Cli) -> None:
    docker("run", "--name", "one", "-v", "/etc/cargo", IMAGE, "touch", "/etc/cargo/one")
    docker("run", "--name", "two", "-v", "/etc/cargo", IMAGE, "touch", "/etc/cargo/two")
    words = ("--volumes-from", "one", "--volumes-from", "two")
    assert sh(docker, *words, script="echo /etc/cargo/*") == "/etc/cargo/two"
    docker("create", "--name", "store", "-v", "/etc", IMAGE)  # never runs: its volume is filled all the same
    assert sh(docker, "--volumes-from", "store", script="test -f /etc/passwd && echo there") == "there"


@pytest.mark.parametrize("words", [(), ("--rm",)])
def test_what_a_read_only_container_is_called_stays(docker: Cli, words: tuple[str, ...]) -> None:
    for path in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf"):
        script = f"echo x >> {path}"
        assert "Read-only file system" in docker("run", *words, "--read-only", IMAGE, "sh", "-c", script, rc=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("run", "-v", "/tmp:/x:nocopy", IMAGE),
            r"invalid mode: nocopy|invalid volume specification: '/tmp:/x:nocopy'",
        ),
        (("run", "--volumes-from", "nobody:bar", IMAGE), "invalid mode: bar"),
        (("run", "--memory-reservation", "1k", IMAGE), "Minimum memory reservation allowed is 6MB"),
        (("run", "--cpus", "0.5", "--cpu-period", "5000", IMAGE), "Nano CPUs and CPU Period cannot both be set"),
    ],
)
def test_what_contradicts_itself_is_refused_in_dockerds_words(docker: Cli, words: tuple[str, ...], said: str) -> None:
    assert re.search(said, docker(*words, rc=125))


def test_a_wrong_dangling_is_refused_without_any_volume(docker: Cli) -> None:
    assert "invalid filter 'dangling=" in docker("volume", "ls", "-f", "dangling=perhaps", rc=1)
