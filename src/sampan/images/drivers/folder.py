"""The folder of a layer driver: finished things under the layer's digest, unfinished ones under temporary names.

<digest><suffix>   the layer: a file or a directory, complete and on disk
<digest>.facts     what `prepare` found, as JSON; written before the layer appears
.tmp-<random>      unfinished, or on its way out
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sampan.images.drivers.model import BadDiffId, LayerFacts
from sampan.kernel import libc

_DIFF_ID: Final = re.compile(r"[0-9a-f]{64}")
_TEMPORARY: Final = ".tmp-"


class LayerFolder:
    """Names, durable writes and one lock for each layer. `suffix` tells the layer's own file or directory."""

    def __init__(self, path: Path, suffix: str) -> None:
        self.path = path
        self._suffix = suffix
        self._locks: dict[str, threading.Lock] = {}
        self._locks_lock = threading.Lock()
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def layer(self, diff_id: str) -> Path:
        """Where the finished layer is. The only place where a digest becomes a path."""
        if not _DIFF_ID.fullmatch(diff_id):
            raise BadDiffId(diff_id)
        return self.path / (diff_id + self._suffix)

    @contextmanager
    def locked(self, diff_id: str) -> Iterator[None]:
        """One thread at a time for each layer; different layers go in parallel."""
        with self._locks_lock:
            lock = self._locks.setdefault(diff_id, threading.Lock())
        with lock:
            yield

    def temporary(self) -> Path:
        """A fresh temporary name in the folder. Nothing is made."""
        return self.path / (_TEMPORARY + secrets.token_hex(8))

    def facts(self, diff_id: str) -> LayerFacts | None:
        """The facts of a prepared layer, or None if they are missing or unreadable: then it is prepared again."""
        try:
            stored = json.loads((self.path / f"{diff_id}.facts").read_bytes())
            return LayerFacts(int(stored["entries"]), int(stored["content_bytes"]), tuple(stored["warnings"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write_facts(self, diff_id: str, facts: LayerFacts) -> None:
        content = {"entries": facts.entries, "content_bytes": facts.content_bytes, "warnings": list(facts.warnings)}
        temporary = self.temporary()
        self.write(temporary, json.dumps(content).encode())
        temporary.rename(self.path / f"{diff_id}.facts")

    def write(self, path: Path, content: bytes) -> None:
        """Write a new file and wait until its content is on disk."""
        try:
            with path.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            path.unlink(missing_ok=True)
            raise libc.failed(error, "write", str(path)) from error

    def publish(self, temporary: Path, diff_id: str) -> None:
        """Give a finished thing its name, and wait until the names are on disk."""
        temporary.rename(self.layer(diff_id))
        self.sync()

    def sync(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self, diff_id: str) -> None:
        """Remove a layer: out of its name first, so that what is left after a crash is temporary."""
        temporary = self.temporary()
        try:
            self.layer(diff_id).rename(temporary)
        except FileNotFoundError:
            return
        (self.path / f"{diff_id}.facts").unlink(missing_ok=True)
        self.sync()
        erase(temporary)

    def sweep(self, keep: Set[str]) -> None:
        """Erase temporary things, and layers and facts not in `keep`."""
        for entry in sorted(self.path.iterdir()):
            if entry.name.startswith(_TEMPORARY):
                erase(entry)
            elif entry.name.endswith(".facts") and _DIFF_ID.fullmatch(entry.name[:64]):
                if entry.name[:64] not in keep or not self.layer(entry.name[:64]).exists():
                    entry.unlink(missing_ok=True)
            elif _DIFF_ID.fullmatch(entry.name.removesuffix(self._suffix)):
                diff_id = entry.name.removesuffix(self._suffix)
                if diff_id not in keep:
                    self.discard(diff_id)


def erase(path: Path) -> None:
    """Remove a file or a whole directory, following no link. No error if it is gone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
