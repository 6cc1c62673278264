"""`build`: a folder, an archive or a URL goes to the daemon's builder.

The folder is packed here: what `.dockerignore` names never leaves this machine, links stay links, and owners are
root's. A Dockerfile that lies outside the folder goes along under a name of its own.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

from sampan.cli import failures, output, units
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import auth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import IO, Any

    from sampan.formats.tar_model import TarEntry

URLS = ("http://", "https://", "git://", "github.com/", "git@")
ASIDE = ".dockerfile.of-the-client"  # the name of a Dockerfile from elsewhere, inside the archive
MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
LARGEST_DOCKERFILE = 4 << 20


@declare.command()
@declare.option("--add-host", "add_host", kind="list", help="Add a custom host-to-IP mapping (host:ip)")
@declare.option("--build-arg", "build_arg", kind="list", help="Set build-time variables")
@declare.option("--cache-from", "cache_from", kind="strings", help="Images to consider as cache sources")
@declare.option("--cgroup-parent", default="", help="Optional parent cgroup for RUN")
@declare.option("--cpu-period", default=0, kind="int", help="Limit the CPU CFS (Completely Fair Scheduler) period")
@declare.option("--cpu-quota", default=0, kind="int", help="Limit the CPU CFS (Completely Fair Scheduler) quota")
@declare.option("--cpu-shares", "-c", default=0, kind="int", help="CPU shares (relative weight)")
@declare.option("--cpuset-cpus", default="", help="CPUs in which to allow execution (0-3, 0,1)")
@declare.option("--cpuset-mems", default="", help="MEMs in which to allow execution (0-3, 0,1)")
@declare.option("--disable-content-trust", type=bool, default=True, hidden=True)
@declare.option("--file", "-f", default="", help="Name of the Dockerfile (default is PATH/Dockerfile)")
@declare.option("--force-rm", is_flag=True, help="Taken for compatibility: nothing is ever left")
@declare.option("--iidfile", default="", help="Write the image ID to the file")
@declare.option("--label", kind="list", help="Set metadata for an image")
@declare.option("--memory", "-m", default="", kind="bytes", help="Memory limit")
@declare.option("--memory-swap", default="", kind="bytes", help="Swap limit equal to memory plus swap: -1 for no limit")
@declare.option("--network", default="", help="Set the networking mode for the RUN instructions during build")
@declare.option("--no-cache", is_flag=True, help="Do not use cache when building the image")
@declare.option("--platform", default="", help="Set platform if server is multi-platform capable")
@declare.option("--progress", default="auto", help="Taken for compatibility: progress is always plain", hidden=True)
@declare.option("--pull", is_flag=True, help="Always attempt to pull a newer version of the image")
@declare.option("--quiet", "-q", is_flag=True, help="Suppress the build output and print image ID on success")
@declare.option("--rm", type=bool, default=True, help="Taken for compatibility: nothing is ever left")
@declare.option("--shm-size", default="", kind="bytes", help="Size of /dev/shm")
@declare.option("--tag", "-t", kind="list", help="Name and optionally a tag in the name:tag format")
@declare.option("--target", default="", help="Set the target build stage to build")
@declare.argument("path", metavar="PATH | URL | -", offers="file")
def build(path: str, **options: Any) -> int:
    """Build an image from a Dockerfile."""
    query = parameters(options)
    headers = {"X-Registry-Config": logins()}
    if path.startswith(URLS):
        query |= {"remote": path, "dockerfile": options["file"]}
        return _told(daemon().lines("POST", "/build", query=query, headers=headers), options)
    with _archive(path, options["file"]) as (content, dockerfile):
        lines = daemon().lines(
            "POST", "/build", query=query | {"dockerfile": dockerfile}, headers=headers, upload=content
        )
        return _told(lines, options)


def logins() -> str:
    """All passwords we have for registries, as the header carries them. Raises: HelperFailed."""
    return base64.urlsafe_b64encode(json.dumps(auth.all_known()).encode()).decode()


def parameters(options: dict[str, Any]) -> dict[str, Any]:
    """The query of `POST /build`, without the Dockerfile. Raises: BadUsage."""
    sizes = {name: options[name] for name in ("memory", "memory_swap", "shm_size")}
    bytes_of = {name: -1 if text == "-1" else units.parse_size(text) if text else "" for name, text in sizes.items()}
    return {
        "t": list(options["tag"]),
        "q": options["quiet"],
        "nocache": options["no_cache"],
        "pull": options["pull"],
        "rm": options["rm"],
        "forcerm": options["force_rm"],
        "memory": bytes_of["memory"],
        "memswap": bytes_of["memory_swap"],
        "shmsize": bytes_of["shm_size"],
        "cpushares": options["cpu_shares"] or "",
        "cpuperiod": options["cpu_period"] or "",
        "cpuquota": options["cpu_quota"] or "",
        "cpusetcpus": options["cpuset_cpus"],
        "cpusetmems": options["cpuset_mems"],
        "cgroupparent": options["cgroup_parent"],
        "buildargs": json.dumps(variables(options["build_arg"])) if options["build_arg"] else "",
        "labels": json.dumps(dict(text.partition("=")[::2] for text in options["label"])) if options["label"] else "",
        "cachefrom": json.dumps(list(options["cache_from"])) if options["cache_from"] else "",
        "extrahosts": ",".join(options["add_host"]),
        "networkmode": options["network"],
        "platform": options["platform"],
        "target": options["target"],
        "version": "1",
    }


def variables(words: Iterable[str]) -> dict[str, str | None]:
    """`NAME=value`, or the name alone: then the environment's value, None if it has none."""
    pairs = (word.partition("=") for word in words)
    return {name: value if equals else os.environ.get(name) for name, equals, value in pairs}


def _told(lines: Iterator[dict[str, Any]], options: dict[str, Any]) -> int:
    """Print what the daemon tells. Raises: CliError with the failed command's exit code."""
    image_id = ""
    for line in lines:
        if line.get("error"):
            sys.stdout.flush()
            code = (line.get("errorDetail") or {}).get("code") or failures.GENERAL
            raise failures.CliError(str(line["error"]), int(code))
        image_id = (line.get("aux") or {}).get("ID") or image_id
        text = line.get("stream") or ""
        if options["quiet"] and text.startswith("sha256:"):
            image_id = text.strip()
        output.echo(text, nl=False)
        sys.stdout.flush()
    if options["iidfile"]:
        Path(options["iidfile"]).write_text(image_id)
    return 0


# --- the archive -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _archive(path: str, dockerfile: str) -> Iterator[tuple[IO[bytes], str]]:
    """The bytes to send, and the Dockerfile's name in them. Raises: CliError."""
    with tempfile.TemporaryFile() as spool:
        if path == "-":
            yield _standard_input(spool, dockerfile), dockerfile
            return
        root = Path(path)
        if not root.is_dir():
            raise failures.CliError(f'unable to prepare context: path "{path}" not found')
        name = _pack(root, dockerfile, spool)
        spool.seek(0)
        yield spool, name


def _standard_input(spool: IO[bytes], dockerfile: str) -> IO[bytes]:
    """An archive as it comes; anything else is a Dockerfile without a context."""
    source = sys.stdin.buffer
    if dockerfile == "-":
        raise failures.BadUsage("invalid argument: can't use stdin for both build context and dockerfile")
    head = source.peek(512) if hasattr(source, "peek") else b""
    if head.startswith(MAGICS) or head[257:262] == b"ustar":
        return source
    text = source.read(LARGEST_DOCKERFILE + 1)
    if len(text) > LARGEST_DOCKERFILE:
        raise failures.CliError("standard input is no archive, and too long for a Dockerfile")
    _write(spool, [(dockerfile or "Dockerfile", text)], None, ())
    spool.seek(0)
    return spool


def _pack(root: Path, dockerfile: str, spool: IO[bytes]) -> str:
    """The folder without what is ignored, into `spool`. Returns the Dockerfile's name."""
    extra: list[tuple[str, bytes]] = []
    name = dockerfile or "Dockerfile"
    if dockerfile == "-":
        name, extra = ASIDE, [(ASIDE, sys.stdin.buffer.read(LARGEST_DOCKERFILE))]
    elif dockerfile:
        place = Path(dockerfile)
        try:
            name = str(place.resolve().relative_to(root.resolve()))
        except ValueError:
            name, extra = ASIDE, [(ASIDE, _content(place))]
    if not extra and not (root / name).is_file():
        raise failures.CliError(
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {root / name}"
        )
    _write(spool, extra, root, _patterns(root, name))
    return name


def _content(place: Path) -> bytes:
    try:
        return place.read_bytes()
    except OSError as error:
        raise failures.CliError(f"unable to prepare context: {place}: {error.strerror}") from error


def _patterns(root: Path, dockerfile: str) -> Sequence[str]:
    """The ignore file's lines. The Dockerfile and the ignore file themselves always go: the daemon needs them."""
    from sampan.formats import dockerignore

    for place in (root / f"{dockerfile}.dockerignore", root / ".dockerignore"):
        if place.is_file():
            return [*dockerignore.lines(place.read_bytes()), f"!{dockerfile}", "!.dockerignore"]
    return ()


def _write(spool: IO[bytes], files: Sequence[tuple[str, bytes]], root: Path | None, patterns: Sequence[str]) -> None:
    from sampan.errors import SampanError
    from sampan.formats import dockerignore
    from sampan.formats.tar_model import EntryKind, TarEntry
    from sampan.host import packing

    try:
        ignored = dockerignore.Ignored(dockerignore.parse(patterns))

        def adapt(entry: TarEntry) -> Sequence[TarEntry]:
            name = os.fsdecode(entry.path)
            if ignored(name) and not (entry.kind is EntryKind.DIRECTORY and ignored.may_hold_exceptions(name)):
                return ()
            return packing.portable(entry._replace(uid=0, gid=0))

        packer = packing.Packer(spool.write, adapt=adapt)
        for name, text in files:
            packer.put(TarEntry(os.fsencode(name), size_bytes=len(text)), (text,))
        if root is not None:
            descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                packer.add_children(descriptor)
            finally:
                os.close(descriptor)
        packer.finish()
    except SampanError as error:
        raise failures.CliError(f"unable to prepare context: {error}") from error
