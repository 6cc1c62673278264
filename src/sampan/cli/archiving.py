"""`diff`, `export`, `commit`, `save`, `load`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sampan.cli import failures, output, progress
from sampan.cli.common import daemon
from sampan.cli.line import declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.cli.client import Query

KINDS = "CAD"  # Docker's letters for its numbers: changed, added, deleted


@declare.command()
@declare.argument("container", offers="container")
def diff(container: str) -> int:
    """Inspect changes to files or directories on a container's filesystem."""
    for change in daemon().get(f"/containers/{container}/changes") or []:
        output.echo(f"{KINDS[change['Kind']]} {change['Path']}")
    return 0


@declare.command()
@declare.option("--output", "-o", "target", default="", help="Write to a file, instead of STDOUT")
@declare.argument("container", offers="container")
def export(container: str, *, target: str) -> int:
    """Export a container's filesystem as a tar archive."""
    _receive(f"/containers/{container}/export", {}, target)
    return 0


@declare.command()
@declare.option("--author", "-a", default="", help='Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")')
@declare.option("--change", "-c", multiple=True, help="Apply Dockerfile instruction to the created image")
@declare.option("--message", "-m", default="", help="Commit message")
@declare.option("--pause", "-p", is_flag=True, default=True, help="Pause container during commit")
@declare.argument("container", offers="container")
@declare.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
def commit(container: str, reference: str, *, author: str, change: tuple[str, ...], message: str, pause: bool) -> int:
    """Create a new image from a container's changes."""
    repository, tag = _split(reference)
    query: Query = {
        "container": container,
        "repo": repository,
        "tag": tag,
        "author": author,
        "comment": message,
        "changes": list(change),
        "pause": None if pause else "0",
    }
    output.echo(daemon().post("/commit", query)["Id"])
    return 0


@declare.command()
@declare.option("--output", "-o", "target", default="", help="Write to a file, instead of STDOUT")
@declare.argument("images", nargs=-1, required=True, offers="image")
def save(images: tuple[str, ...], *, target: str) -> int:
    """Save one or more images to a tar archive."""
    _receive("/images/get", {"names": list(images)}, target)
    return 0


@declare.command()
@declare.option("--input", "-i", "source", default="", help="Read from tar archive file, instead of STDIN")
@declare.option("--quiet", "-q", is_flag=True, help="Suppress the load output")
def load(*, source: str, quiet: bool) -> int:
    """Load an image from a tar archive or STDIN."""
    if not source and sys.stdin.isatty():
        raise failures.CliError("requested load from stdin, but stdin is empty")
    quiet = quiet or not sys.stdout.isatty()
    try:
        content = Path(source).open("rb") if source else sys.stdin.buffer  # noqa: SIM115 - closed with the program
    except OSError as error:
        raise failures.CliError(f"open {source}: {error.strerror}") from error
    lines = daemon().lines("POST", "/images/load", query={"quiet": "1" if quiet else "0"}, upload=content)
    progress.draw(lines, sys.stdout)
    return 0


def _split(reference: str) -> tuple[str, str]:
    """Repository and tag; a colon before the last slash belongs to a port."""
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "")


def _receive(path: str, query: Query, target: str) -> None:
    """An archive to a file, or to standard output unless that is a terminal. A file appears whole or not at all."""
    if not target and sys.stdout.isatty():
        raise failures.CliError("cowardly refusing to save to a terminal. Use the -o flag or redirect")
    if target:
        _check_target(Path(target))
    with daemon().open("GET", path, query=query) as response:
        if not target:
            _copy(iter(lambda: response.read1(), b""), sys.stdout.buffer.fileno())
            return
        unfinished = Path(f"{target}.{os.getpid()}.tmp")
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _copy(iter(lambda: response.read1(), b""), descriptor)
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)


def _check_target(target: Path) -> None:
    what = "failed to save image: invalid output path"
    if not target.parent.is_dir():
        raise failures.CliError(f'{what}: directory "{target.parent}" does not exist')
    if target.is_dir():
        raise failures.CliError(f'{what}: "{target}" is a directory')


def _copy(pieces: Iterator[bytes], descriptor: int) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[os.write(descriptor, view) :]
