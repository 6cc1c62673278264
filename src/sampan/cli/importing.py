"""`import`: a tarball or a directory becomes an image."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

from sampan.cli import failures, progress, running
from sampan.cli.common import daemon
from sampan.cli.line import declare
from sampan.cli.settings import preferences

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from sampan.cli.client import Query


@declare.command()
@declare.option("--change", "-c", multiple=True, help="Apply a Dockerfile instruction")
@declare.option("--message", "-m", default="", help="Commit message")
@declare.option("--platform", default="", help="Platform of the image")
@declare.argument("source", metavar="FILE|DIRECTORY|-", offers="file")
@declare.argument("reference", default="", metavar="[REPOSITORY[:TAG]]")
def import_(source: str, reference: str, *, change: tuple[str, ...], message: str, platform: str) -> int:
    """Import a tarball (compressed or not), or a directory as it is, to make an image."""
    query: Query = {
        "fromSrc": "-",
        "repo": reference,
        "message": message,
        "platform": preferences.platform(platform),
        "changes": list(change),
    }
    with _tar_of(source) as content:
        progress.draw(daemon().lines("POST", "/images/create", query=query, upload=content), sys.stdout)
    return 0


@contextlib.contextmanager
def _tar_of(source: str) -> Iterator[IO[bytes]]:
    """The bytes to send. A directory is packed by tar(1) on the way, sorted: the same files make the same layer."""
    if source == "-":
        yield sys.stdin.buffer
    elif Path(source).is_dir():
        options = ["--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=security.capability"]
        with subprocess.Popen(["tar", "-C", source, *options, "-c", "."], stdout=subprocess.PIPE) as packing:
            assert packing.stdout is not None
            yield packing.stdout
        if packing.returncode:
            raise failures.CliError(f"tar could not read all of {source}; the image is incomplete: remove it")
    else:
        try:
            content = Path(source).open("rb")  # noqa: SIM115 - closed below; only opening it may fail here
        except OSError as error:
            raise failures.CliError(running.unreadable(error)) from error
        with content:
            yield content
