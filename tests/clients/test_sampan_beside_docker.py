"""`sampan` beside the stock docker command line at one daemon: the same words give the same bytes and exit codes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harbour
import peers

pytestmark = [pytest.mark.root, pytest.mark.peer]
PROGRAM = str(Path(sys.executable).parent / "sampan")
LIMIT_S = 60
AGO = re.compile(r"((About )?(an?|\d+|Less than a) (second|minute|hour)s?( ago)?) *")
# What one of both alone says: advice that ends in another word, and a note on buildx.
NOTES = re.compile(r"DEPRECATED: The legacy builder(.*\n)+?.*buildx/\n\n")


class Pair:
    """Both programs at one daemon, with a home of their own."""

    def __init__(self, host: str, home: Path) -> None:
        self.host = host
        self.environment = {**os.environ, "HOME": str(home), "DOCKER_CONFIG": str(home / ".docker")}
        for name in ("DOCKER_HOST", "SAMPAN_HOST", "DOCKER_CONTEXT"):
            self.environment.pop(name, None)

    def run(self, program: str, *words: str, given: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run(
            [program, "-H", self.host, *words],
            input=given,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
            env=self.environment,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def both(self, *words: str, given: bytes = b"") -> tuple[tuple[int, str, str], tuple[int, str, str]]:
        theirs = self.run(peers.docker_cli(), *words, given=given)
        return self.run(PROGRAM, *words, given=given), theirs

    def docker(self, *words: str, given: bytes = b"") -> str:
        code, out, err = self.run(peers.docker_cli(), *words, given=given)
        assert code == 0, err
        return out.strip()


def settled(answer: tuple[int, str, str]) -> tuple[int, str, str]:
    """Without what changes from second to second, and with one name for the program."""
    code, out, err = answer
    texts = [AGO.sub("SOME TIME ", text) for text in (out, err)]
    texts = [text.replace("docker", "sampan").replace("Docker", "Sampan") for text in texts]
    if "SOME TIME" in texts[0]:
        texts[0] = re.sub("  +", "  ", texts[0])  # columns are as wide as a time in them
    texts[1] = re.sub(r"(SRun|See) '", "Run '", NOTES.sub("", texts[1].replace("sampan.com", "docker.com")))
    return code, *texts


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One daemon with two running containers, one that ended, one that was never started, and what they use."""
    folder = tmp_path_factory.mktemp("pair")
    with peers.running(["sampan"], folder=folder) as running:
        both = Pair(running["sampan"].host, folder)
        both.docker("import", "-c", "CMD sleep 1000", "-", "bb:1", given=harbour.busybox_tar("one"))
        both.docker("tag", "bb:1", "other/bb:2")
        web = (
            "-p",
            "8080:80",
            "-p",
            "9000-9002:9000-9002/udp",
            "-l",
            "a=b",
            "-l",
            "com.x.role=d",
            "-v",
            "pantry:/data",
        )
        both.docker("run", "-d", "--name", "web", *web, "bb:1", "sleep", "10000")
        both.docker("run", "-d", "--name", "job", "bb:1", "sh", "-c", "echo hello; echo err >&2; sleep 10000")
        both.docker("run", "-d", "--name", "ended", "bb:1", "sh", "-c", "exit 3")
        both.docker("wait", "ended")
        both.docker("create", "--name", "idle", "bb:1", "true")
        both.docker("network", "create", "crew")
        both.docker("volume", "create", "--label", "x=y", "hold")
        yield both


LOOKING = r"""
ps
ps -a
ps -aq
ps -a --no-trunc
ps -as
ps -a --format json
ps -a --format "{{json .}}"
ps -a --format "{{json .Names}} {{json .Labels}}"
ps -a --format "table {{.ID}}\t{{.Image}}\t{{.Ports}}"
ps -a --format "{{.ID}}|{{.Names}}|{{.Image}}|{{.Command}}|{{.CreatedAt}}|{{.Ports}}|{{.State}}|{{.Size}}|{{.Labels}}"
ps -a --format "{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Platform}}|{{.RunningFor}}|{{.Status}}"
ps -a --format "{{.Label \"a\"}}"
ps -a --format "table {{.Names}}\t{{.Label \"a\"}}\t{{.Label \"com.x.role\"}}"
ps --format "{{.Foo}}"
ps --format "{{"
ps --format "{{if eq .Names \"web\"}}x{{else if eq .Names \"job\"}}j{{else}}y{{end}}"
ps --format "{{range $i,$e := split .Names \"e\"}}{{$i}}={{$e}};{{end}}"
ps --format "{{upper .Names}} {{title .Names}} {{len .Names}} {{pad .Names 2 3}}|{{truncate .ID 4}}|{{println .Names}}"
ps --format "{{with .Names}}{{.}}{{end}} {{- \" x\" -}}  y"
ps --format "{{gt 3 2}} {{le 2 2}} {{not true}} {{and 1 0}} {{or 0 \"x\"}} {{ne 1 2}} {{eq 1 1}} {{lt 1.5 2.5}}"
ps --format raw
ps --format table
ps -q --format "{{.Names}}"
ps -n 1
ps -l
ps -f name=web
ps -f status=exited -q
ps -f foo=bar
ps -f label=a=b -f status=running
ps -a -f exited=3
ps -a -f ancestor=bb:1 -q
container ls
container list -a
images --digests
images -q
images --format json
images --format "{{json .}}"
images --format "table {{.Repository}}\t{{.Tag}}\t{{.CreatedAt}}\t{{.Digest}}\t{{.SharedSize}}\t{{.VirtualSize}}"
images --format "{{.Nope}}"
images nope
images -f dangling=true
history bb:1
history -q bb:1
history --no-trunc bb:1
history --human=false bb:1
history --format json bb:1
history nope
network ls
network ls -q
network ls --no-trunc
network ls --format json
network ls --format "{{.ID}} {{.Name}} {{.IPv6}} {{.Internal}} {{.Labels}} {{.CreatedAt}}"
network ls -f driver=bridge -q
network inspect crew bridge
network inspect -f "{{.Name}} {{range .IPAM.Config}}{{.Subnet}}{{end}}" crew bridge
network inspect crew nope
network inspect -f json crew
volume ls
volume ls --format json
volume ls --format "{{.Name}} {{.Mountpoint}} {{.Links}} {{.Size}} {{.Availability}}"
volume inspect pantry
volume inspect pantry nope
volume inspect -f "{{.Name}}" pantry hold
inspect web job
inspect web nope
inspect nope
inspect --type image bb:1
inspect --type foo bb:1
inspect -f "{{.State.Pid}} {{.Config.Env}} {{.HostConfig.PortBindings}}" web
inspect -f "{{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}}" web
inspect -f "{{.Config.Healthcheck}} {{.Config.Entrypoint}}" web
inspect -f "{{.Nope}}" web
inspect -f "{{.State.Nope}}" web
inspect -f "{{foo}}" web
inspect -f json web
image inspect -f "{{.Os}}/{{.Architecture}} {{.RepoTags}} {{.Size}}" bb:1
container inspect nope
port web
port web 80
port web 81
port web 9000/udp
port web foo
top web
top web -o pid,comm
top idle
logs job
logs --tail 1 job
logs nope
logs --tail x job
version -f "{{.Server.Version}} {{.Server.APIVersion}} {{range .Server.Components}}{{.Name}}{{end}}"
version -f "{{.Nope}}"
info -f "{{.Containers}} {{.Driver}} {{.Name}} {{.ServerVersion}} {{.SecurityOptions}}"
events --since 1h --until 1s -f container=web -f event=create
events --since 1h --until 1s --format json -f container=ended
events --since x
system df
system df -v
system df --format "{{json .}}"
system df --format "table {{.Type}}\t{{.Size}}"
search localhost:5000/bb
search --format "{{.Nope}}" bb
""".strip().splitlines()

# Nothing changes by these: they are refused, or nobody agrees.
REFUSED = r"""
container prune
image prune -a
network prune
volume prune
volume prune -a
builder prune
system prune
system prune -a --volumes --filter label=x
run -it bb:1
run nope
run --pull never nope
run --rm bb:1 nope
run --rm bb:1 /etc
run --rm bb:1 sh -c "exit 42"
run --rm -i bb:1 cat
run --rm --name web bb:1 true
run --rm -w nope bb:1 true
run --rm -u nobody-there bb:1 true
run --rm --network nope bb:1 true
run --rm -v nope bb:1 true
run --rm --cap-add NOPE bb:1 true
run --rm --gpus all bb:1 true
exec web nope
exec idle true
exec nope true
exec web sh -c "exit 7"
exec -it web true
start nope
stop -t 1 idle
kill idle
kill -s FOO web
kill nope
rm web
rm nope
rm -f nope
pause idle
unpause web
rename web job
rename nope x
restart nope
wait nope
wait ended
attach nope
attach idle
tag nope x
rmi nope
network rm nope
network rm -f nope
network rm bridge
network create bridge
network connect nope web
network connect crew nope
network disconnect crew web
network create --subnet 999 x
volume rm nope
volume rm -f nope
volume rm pantry
volume create --driver nope x
push nope
import /nonex
top nope
context use nope
context inspect nope
""".strip().splitlines()


def words_of(line: str) -> list[str]:
    import shlex

    return shlex.split(line)


@pytest.mark.parametrize("line", [*LOOKING, *REFUSED])
def test_the_same_words_give_the_same_bytes_and_exit_code(pair: Pair, line: str) -> None:
    ours, theirs = (settled(answer) for answer in pair.both(*words_of(line), given=b"some input\n"))
    if line.startswith("images"):  # docker shows an image's tags in an order that changes from run to run
        ours, theirs = ((code, *(sorted(text.splitlines()) for text in texts)) for code, *texts in (ours, theirs))
    assert ours == theirs


def test_info_differs_in_the_clients_version_only(pair: Pair) -> None:
    ours, theirs = pair.both("info")
    drop = re.compile(r" Version: .*\n", re.MULTILINE)
    assert drop.sub("", settled(ours)[1], count=1) == drop.sub("", settled(theirs)[1], count=1)


def test_the_servers_half_of_version_is_the_same(pair: Pair) -> None:
    ours, theirs = pair.both("version")
    assert ours[1].partition("\nServer:")[2] == theirs[1].partition("\nServer:")[2] != ""


def test_search_finds_what_was_pushed(pair: Pair) -> None:
    pair.docker("tag", "bb:1", "localhost:5000/team/bb:1")
    pair.docker("push", "-q", "localhost:5000/team/bb:1")
    for words in (("search", "bb"), ("search", "--no-trunc", "localhost:5000/team"), ("search", "-f", "stars=3", "bb")):
        ours, theirs = pair.both(*words)
        assert settled(ours) == settled(theirs)
    assert "/team/bb" in pair.docker("search", "bb")
    pair.docker("rmi", "localhost:5000/team/bb:1")
