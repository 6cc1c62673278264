"""`docker build` with the buildx plugin installed: the same script against Sampan and, where unpacked, dockerd 26.1."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import harbour
import peers

PLUGIN = peers.PEERS / "buildx-0.13/usr/libexec/docker/cli-plugins/docker-buildx"
pytestmark = [
    pytest.mark.root,
    pytest.mark.peer,
    pytest.mark.skipif(not PLUGIN.exists(), reason="buildx is not unpacked: bash tests/peers.sh"),
]
LIMIT_S = 90
ENGINES = [name for name in ("sampan", "docker-26.1") if name in peers.available()]
BASE = "bb:1"


@dataclass
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


@dataclass
class Buildx:
    """The docker command line with buildx at one engine. `tree` is a fresh folder for each test."""

    engine: peers.Engine
    config: Path
    tree: Path

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        return {**kept, "DOCKER_CONFIG": str(self.config), "DOCKER_HOST": self.engine.host, **(more or {})}

    def run(self, *words: str, input: bytes = b"", more: Mapping[str, str] | None = None) -> Done:
        done = subprocess.run(
            [peers.docker_cli(), *words],
            input=input,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
            env=self.environment(more),
            cwd=self.tree,
        )
        return Done(done.returncode, done.stdout.decode(errors="replace").strip(), done.stderr.decode(errors="replace"))

    def ok(self, *words: str, input: bytes = b"", more: Mapping[str, str] | None = None) -> Done:
        done = self.run(*words, input=input, more=more)
        assert done.code == 0, f"docker {' '.join(words)}: {done.out}\n{done.err}"
        return done

    def build(self, dockerfile: str, *words: str, more: Mapping[str, str] | None = None, code: int = 0) -> str:
        """`docker build --progress plain .`; everything it said."""
        (self.tree / "Dockerfile").write_text(dockerfile)
        done = self.run("build", "--progress", "plain", *words, ".", more=more)
        assert done.code == code, f"{done.out}\n{done.err}"
        return done.out + done.err

    def inside(self, image: str, script: str) -> str:
        return self.ok("run", "--rm", image, "sh", "-c", script).out

    @property
    def ours(self) -> bool:
        return self.engine.name == "sampan"


@pytest.fixture(scope="module", params=ENGINES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buildx]:
    config = tmp_path_factory.mktemp("config")
    (config / "cli-plugins").mkdir()
    (config / "cli-plugins/docker-buildx").symlink_to(PLUGIN)
    with peers.running([request.param]) as engines:  # a short path: dockerd makes sockets below it
        client = Buildx(engines[request.param], config, config)
        client.ok("import", "-c", "CMD sleep 1000", "-", BASE, input=harbour.busybox_tar("one"))
        yield client


@pytest.fixture
def docker(running: Buildx, tmp_path: Path) -> Buildx:
    return Buildx(running.engine, running.config, tmp_path)


def test_stages_arguments_heredocs_and_the_cache(docker: Buildx) -> None:
    (docker.tree / "a.txt").write_text("aaa")
    (docker.tree / "sub").mkdir()
    (docker.tree / "sub/program").write_text("#!/bin/sh\necho ran\n")
    (docker.tree / "sub/program").chmod(0o755)
    (docker.tree / "sub/link").symlink_to("program")
    text = f"""FROM {BASE} AS one
ARG WHO=me
RUN echo hello $WHO >/hello
COPY a.txt sub /data/
FROM {BASE}
COPY --from=one /hello /data /
RUN <<END
echo first >/lines
echo second >>/lines
END
COPY <<END /copied
words
END
ENV A=b
LABEL x=y
"""
    docker.build(text, "-t", "app:1", "-t", "app:2", "--build-arg", "WHO=you", "--label", "more=less")
    said = docker.inside("app:1", "cat /hello /a.txt /lines /copied; /program; readlink /link; echo $A")
    assert said.split() == ["hello", "you", "aaafirst", "second", "words", "ran", "program", "b"]
    labels = json.loads(docker.ok("inspect", "-f", "{{json .Config.Labels}}", "app:2").out)
    assert labels == {"x": "y", "more": "less"}
    first = docker.ok("inspect", "-f", "{{.Id}}", "app:1").out
    again = docker.build(text, "-t", "app:3", "--build-arg", "WHO=you", "--label", "more=less")
    assert again.count("CACHED") >= 5
    assert docker.ok("inspect", "-f", "{{.Id}}", "app:3").out == first or not docker.ours
    assert "CACHED\n" not in _step(docker.build(text, "--no-cache", "--build-arg", "WHO=you"), "RUN echo hello")
    changed = docker.build(text, "--build-arg", "WHO=them")
    assert "CACHED" not in _step(changed, "RUN echo hello")


def _step(output: str, name: str) -> str:
    """What the progress says of a step."""
    number = re.search(rf"^#(\d+) \[.*{re.escape(name)}", output, re.MULTILINE)
    assert number, output
    return "\n".join(line for line in output.splitlines() if line.startswith(f"#{number[1]} ")) + "\n"


def test_a_target_ends_the_build_there(docker: Buildx) -> None:
    text = f"FROM {BASE} AS one\nRUN touch /one\nFROM {BASE} AS two\nRUN exit 9\n"
    docker.build(text, "--target", "one", "-t", "target:1")
    assert docker.inside("target:1", "ls /one") == "/one"
    assert "failed to reach build target nine" in docker.build(text, "--target", "nine", code=1).replace(
        'target stage "nine" could not be found', "failed to reach build target nine"
    )


def test_a_failing_command_ends_the_build_with_its_words_and_place(docker: Buildx) -> None:
    said = docker.build(f"FROM {BASE}\nRUN echo start \\\n && exit 7\n", code=1)
    assert 'process "/bin/sh -c echo start  && exit 7" did not complete successfully: exit code: 7' in said
    assert "ERROR: failed to solve: " in said
    assert re.search(r"^Dockerfile:2", said, re.MULTILINE)
    assert re.search(r"2 \| >>> RUN echo start \\\n +3 \| >>>  && exit 7", said)
    assert re.search(r"^#\d+ [0-9.]+ start$", said, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"FROM {BASE}\nRUNN x\n", "unknown instruction: RUNN"),
        (f"FROM {BASE}\nCOPY nothing /x\n", "nothing.*not found|not found.*nothing|nothing: file does not exist"),
        ("FROM\n", "(?i)from requires"),
        ("", "file with no instructions|the Dockerfile cannot be empty|no build stage|can't be empty|cannot be empty"),
    ],
)
def test_a_wrong_dockerfile_is_told_and_leaves_nothing(docker: Buildx, text: str, said: str) -> None:
    before = sorted(docker.ok("images", "-aq").out.split())
    assert re.search(said, docker.build(text, code=1), re.DOTALL)
    assert sorted(docker.ok("images", "-aq").out.split()) == before


def test_quiet_iidfile_and_metadata_name_the_image(docker: Buildx) -> None:
    (docker.tree / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo quiet >/q\n")
    done = docker.ok("build", "-q", "--iidfile", "iid", "--metadata-file", "meta", ".")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", done.out)
    assert (docker.tree / "iid").read_text() == done.out
    metadata = json.loads((docker.tree / "meta").read_text())
    assert metadata["containerimage.config.digest"] == metadata["containerimage.digest"] == done.out
    assert docker.inside(done.out, "cat /q") == "quiet"


def test_a_secret_is_there_while_it_is_needed_and_nowhere_after(docker: Buildx) -> None:
    (docker.tree / "hush").write_text("secret words")
    text = f"""FROM {BASE}
RUN --mount=type=secret,id=s cat /run/secrets/s | wc -c >/count
RUN ls /run/secrets 2>/dev/null | wc -l >/left
RUN --mount=type=secret,id=none,required=false test ! -e /run/secrets/none
""".replace("wc -c", "/bin/busybox wc -c").replace("wc -l", "/bin/busybox wc -l")
    docker.build(text, "--secret", "id=s,src=hush", "-t", "secret:1")
    assert docker.inside("secret:1", "cat /count /left").split() == ["12", "0"]
    said = docker.build(f"FROM {BASE}\nRUN --mount=type=secret,id=x,required=true true\n", code=1)
    assert "not found" in said


@contextlib.contextmanager
def agent(folder: Path) -> Iterator[dict[str, str]]:
    """A real ssh-agent with one key."""
    socket = folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        more = {"SSH_AUTH_SOCK": str(socket)}
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        subprocess.run(["ssh-add", "-q", key], check=True, env={**os.environ, **more})
        yield more
    finally:
        process.terminate()
        process.wait(10)


def with_libraries(program: str, folder: Path) -> None:
    """A program of this host and what it is linked with, at the same paths below `folder`."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    for name in [program, *re.findall(r"(/\S+) \(0x", listed)]:
        target = folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, target)


def test_the_ssh_agent_answers_inside_a_step_and_nowhere_after(docker: Buildx) -> None:
    program = shutil.which("ssh-add")
    assert program
    with_libraries(program, docker.tree / "root")
    text = f"""FROM {BASE}
COPY root /
RUN --mount=type=ssh {program} -l >/keys && echo $SSH_AUTH_SOCK >/where
RUN ! {program} -l
"""
    with agent(docker.tree) as more:
        listed = subprocess.run(
            ["ssh-add", "-l"], capture_output=True, text=True, env={**os.environ, **more}, check=True
        )
        docker.build(text, "--ssh", "default", "-t", "ssh:1", more=more)
    keys, where = docker.inside("ssh:1", "cat /keys /where").splitlines()
    assert keys == listed.stdout.strip()
    assert where.startswith("/run/buildkit/ssh_agent")


def test_ignored_files_never_leave_the_client(docker: Buildx) -> None:
    for name in ("keep.txt", "drop.log", "keep.log"):
        (docker.tree / name).write_text(name)
    (docker.tree / ".dockerignore").write_text("*.log\n!keep.log\n")
    docker.build(f"FROM {BASE}\nCOPY . /all/\n", "-t", "ignored:1")
    assert docker.inside("ignored:1", "ls /all").split() == ["Dockerfile", "keep.log", "keep.txt"]
    (docker.tree / "Dockerfile.dockerignore").write_text("keep.txt\n*ockerfile*\n.dockerignore\n")
    docker.build(f"FROM {BASE}\nCOPY . /all/\n", "-t", "ignored:2")
    assert docker.inside("ignored:2", "ls /all").split() == ["drop.log", "keep.log"]


def _sent_bytes(said: str) -> float:
    """What the progress says of the context."""
    units = {"B": 1, "kB": 1e3, "MB": 1e6}
    found = re.findall(r"transferring context: ([0-9.]+)(B|kB|MB)", said)
    return max((float(number) * units[unit] for number, unit in found), default=0)


def test_a_second_build_sends_only_what_changed_and_misses_what_is_gone(docker: Buildx) -> None:
    for name in ("one", "two", "three"):
        (docker.tree / name).write_bytes(os.urandom(1 << 20))
    text = f"FROM {BASE}\nCOPY . /all/\n"
    assert _sent_bytes(docker.build(text, "-t", "again:1")) > 3e6
    assert _sent_bytes(docker.build(text, "-t", "again:1", "--no-cache")) < 1e4
    (docker.tree / "two").write_bytes(os.urandom(1 << 20))
    (docker.tree / "three").unlink()
    assert 1e6 < _sent_bytes(docker.build(text, "-t", "again:1")) < 2e6
    sums = docker.inside("again:1", "cd /all && md5sum *").split()
    told = subprocess.run(["md5sum", "Dockerfile", "one", "two"], cwd=docker.tree, capture_output=True, text=True)
    assert sums == told.stdout.split()
    docker.ok("rmi", "again:1")
    docker.ok("image", "prune", "-f")
    docker.ok("builder", "prune", "-af")
    if docker.ours:  # dockerd keeps what it says is gone until its next collection
        assert _sent_bytes(docker.build(text, "-t", "again:1")) > 2e6


def test_only_what_the_dockerfile_names_is_sent(docker: Buildx) -> None:
    (docker.tree / "large").write_bytes(os.urandom(2 << 20))
    (docker.tree / "sub/deep").mkdir(parents=True)
    (docker.tree / "sub/deep/f1").write_text("f1")
    (docker.tree / "real").mkdir()
    (docker.tree / "real/g").write_text("g")
    (docker.tree / "link").symlink_to("real")
    text = f"""FROM {BASE}
COPY sub/*/f? /to/
COPY link /linked/
RUN --mount=type=bind,source=sub,target=/mnt cat /mnt/deep/f1 >/bound
"""
    assert _sent_bytes(docker.build(text, "-t", "parts:1")) < 1e5
    assert docker.inside("parts:1", "cat /to/f1 /linked/g /bound") == "f1gf1"
    docker.build(f"FROM {BASE}\nONBUILD COPY large /large\n", "-t", "trigger:1")
    docker.build("FROM trigger:1\nCOPY sub /sub\n", "-t", "parts:2")
    assert docker.inside("parts:2", "ls /large /sub").split()[0] == "/large"
    docker.ok("rmi", "parts:1", "parts:2", "trigger:1")


def test_named_contexts_are_directories_and_images(docker: Buildx) -> None:
    (docker.tree / "other").mkdir()
    (docker.tree / "other/o.txt").write_text("other")
    docker.build(
        "FROM base\nCOPY --from=more o.txt /o\nCOPY --from=image /marker /m\n",
        *("--build-context", f"base=docker-image://{BASE}", "--build-context", "more=other"),
        *("--build-context", f"image=docker-image://{BASE}", "-t", "named:1"),
    )
    assert docker.inside("named:1", "cat /o /m") == "otherone"


def test_a_result_goes_to_a_directory_or_an_archive(docker: Buildx) -> None:
    (docker.tree / "big").write_bytes(os.urandom(3 << 20))
    (docker.tree / "program").write_text("x")
    (docker.tree / "program").chmod(0o755)
    (docker.tree / "link").symlink_to("program")
    text = "FROM scratch\nCOPY big program link /d/\n"
    before = sorted(docker.ok("images", "-aq").out.split())
    docker.build(text, "--output", "type=local,dest=out")
    out = docker.tree / "out/d"
    assert (out / "big").read_bytes() == (docker.tree / "big").read_bytes()
    assert (out / "program").stat().st_mode & 0o777 == 0o755
    docker.build(text, "--output", "type=tar,dest=out.tar")
    with tarfile.open(docker.tree / "out.tar") as archive:
        members = {member.name.rstrip("/"): member for member in archive.getmembers()}
        assert set(members) == {"d", "d/big", "d/program", "d/link"}
        content = archive.extractfile("d/big")
        assert content is not None
        assert content.read() == (docker.tree / "big").read_bytes()
    assert sorted(docker.ok("images", "-aq").out.split()) == before


def test_a_dockerfile_or_a_whole_context_comes_by_standard_input(docker: Buildx) -> None:
    done = docker.ok("build", "-q", "-", input=f"FROM {BASE}\nRUN echo in >/in\n".encode())
    assert docker.inside(done.out, "cat /in") == "in"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in (("Dockerfile", f"FROM {BASE}\nCOPY f /f\n"), ("f", "from the archive")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    done = docker.ok("build", "-q", "-", input=packed.getvalue())
    assert docker.inside(done.out, "cat /f") == "from the archive"


def test_options_reach_the_steps(docker: Buildx) -> None:
    text = f"FROM {BASE}\nRUN cat /etc/hosts >/hosts; ls /sys/class/net >/net; ulimit -n >/n\n"
    docker.build(
        text, "--add-host", "there:1.2.3.4", "--network", "none", "--ulimit", "nofile=123:123", "-t", "options:1"
    )
    said = docker.inside("options:1", "cat /hosts /net /n")
    assert re.search(r"1\.2\.3\.4\s+there", said)
    assert said.split()[-2:] == ["lo", "123"]


def test_an_interrupted_build_ends_its_step_and_leaves_nothing(docker: Buildx) -> None:
    seconds = f"{1_000_000 + os.getpid()}"  # other tests' hosts have sleepers too
    (docker.tree / "Dockerfile").write_text(f"FROM {BASE}\nRUN echo begun; sleep {seconds}\n")
    before = sorted(docker.ok("images", "-aq").out.split())
    process = subprocess.Popen(
        [peers.docker_cli(), "build", "--progress", "plain", "."],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=docker.environment(),
        cwd=docker.tree,
    )
    assert process.stdout is not None
    try:
        assert any(re.search(r"^#\d+ [0-9.]+ begun", line) for line in process.stdout)
        assert _sleeping(seconds)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT_S) != 0
    finally:
        process.kill()
        process.stdout.close()
    deadline = time.monotonic() + LIMIT_S
    while _sleeping(seconds):
        assert time.monotonic() < deadline, "the step still runs"
        time.sleep(0.05)
    assert sorted(docker.ok("images", "-aq").out.split()) == before
    docker.build(f"FROM {BASE}\nRUN true\n")


def _sleeping(seconds: str) -> bool:
    """Whether the step's command still runs anywhere: its pid namespace lies below ours."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().split(b"\0")[:2] == [b"sleep", seconds.encode()]:
                return True
    return False


def test_the_cache_is_listed_and_pruned(docker: Buildx) -> None:
    docker.build(f"FROM {BASE}\nRUN echo {time.time_ns()} >/x\n")
    assert "Total:" in docker.ok("buildx", "du").out
    assert "Total:" in docker.ok("builder", "prune", "-a", "-f").out
    assert re.search(r"^Reclaimable:\s+0B", docker.ok("buildx", "du").out, re.MULTILINE) or not docker.ours


def test_the_builder_is_listed_as_running(docker: Buildx) -> None:
    assert re.search(r"default\s.*\brunning\b", docker.ok("buildx", "ls").out)
    assert re.search(r"Driver: +docker\b", docker.ok("buildx", "inspect").out)
