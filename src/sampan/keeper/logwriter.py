"""Appends frames to one container's log and index, rotates them, and outlives a full disk.

A write that fails is dropped and counted; the next one that succeeds is preceded by a frame that says how much was
lost. The pair of files stays consistent throughout: a half-written frame or record is cut off at once.
"""

from __future__ import annotations

import mmap
import os

from sampan.formats import containerlog, stdcopy

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_MODE = 0o640


class LogWriter:
    """The log in `directory`; `max_size_bytes` 0 means no rotation, `max_files` counts the one being written."""

    def __init__(self, directory: str, *, max_size_bytes: int = 0, max_files: int = 1) -> None:
        self.directory = directory
        self.lost_bytes = 0
        self.lost_total_bytes = 0
        self._why_lost = ""
        self._max_size_bytes = max_size_bytes
        self._max_files = max(1, max_files)
        self._log = self._index = -1
        self._log_bytes = self._index_bytes = 0
        self._last_ns = 0
        self._open()

    def write(self, buffer: bytearray, payload_bytes: int, stream: int, now_ns: int) -> None:
        """Append the payload that lies in `buffer` behind room for a header. Never raises for a failing disk."""
        try:
            if self.lost_bytes:
                self._write_marker(stream, now_ns)
            stdcopy.pack_header_into(buffer, 0, stream, payload_bytes)
            self._append(memoryview(buffer)[: stdcopy.HEADER_BYTES + payload_bytes], now_ns)
        except OSError as error:
            self.lost_bytes += payload_bytes
            self.lost_total_bytes += payload_bytes
            self._why_lost = error.strerror or str(error)

    def close(self) -> None:
        """Close both files; a second call does nothing."""
        for descriptor in (self._log, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._log = self._index = -1

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def _open(self) -> None:
        """Open or create the newest pair and repair what a power cut left. Raises: OSError."""
        self._log = os.open(self._path(containerlog.log_name(0)), _FLAGS, _MODE)
        try:
            self._index = os.open(self._path(containerlog.index_name(0)), _FLAGS, _MODE)
            self._repair()
        except OSError:
            self.close()
            raise

    def _repair(self) -> None:
        repair = containerlog.plan_repair(_map(self._index), _map(self._log))
        os.ftruncate(self._log, repair.log_bytes)
        os.ftruncate(self._index, repair.index_bytes)
        os.lseek(self._log, repair.log_bytes, os.SEEK_SET)
        os.lseek(self._index, repair.index_bytes, os.SEEK_SET)
        _write_all(self._index, repair.add)
        self._log_bytes = repair.log_bytes
        self._index_bytes = repair.index_bytes + len(repair.add)
        self._last_ns = max(self._last_ns, repair.last_ns or self._last_of_older())

    def _last_of_older(self) -> int:
        """The last time in the file before this one: it counts when nothing was written since a rotation."""
        try:
            index = os.open(self._path(containerlog.index_name(1)), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            count = os.fstat(index).st_size // containerlog.RECORD_BYTES
            place = (count - 1) * containerlog.RECORD_BYTES
            return containerlog.record(os.pread(index, containerlog.RECORD_BYTES, place), 0)[1] if count else 0
        finally:
            os.close(index)

    def _append(self, frame: memoryview | bytes, now_ns: int) -> None:
        if self._log < 0:
            self._open()  # a rotation could not open the new pair
        if self._max_size_bytes and self._log_bytes and self._log_bytes + len(frame) > self._max_size_bytes:
            self._rotate()
        time_ns = max(self._last_ns + 1, now_ns)
        try:
            _write_all(self._log, frame)
            _write_all(self._index, containerlog.pack_record(self._log_bytes, time_ns))
        except OSError:
            self._cut_back()
            raise
        self._log_bytes += len(frame)
        self._index_bytes += containerlog.RECORD_BYTES
        self._last_ns = time_ns

    def _cut_back(self) -> None:
        """Index first: a reader must never meet a record whose frame is gone."""
        for descriptor, size in ((self._index, self._index_bytes), (self._log, self._log_bytes)):
            os.ftruncate(descriptor, size)
            os.lseek(descriptor, size, os.SEEK_SET)

    def _write_marker(self, stream: int, now_ns: int) -> None:
        text = f"\n[sampan: {self.lost_bytes} bytes of output were lost here: {self._why_lost}]\n"
        self._append(stdcopy.frame(stream, text.encode()), now_ns)
        self.lost_bytes = 0

    def _rotate(self) -> None:
        """Remove the oldest pair, shift the others up, index before log (readers rely on that), and begin a new one.

        The oldest goes before anything takes its names: a rename onto its index would leave its log beside the index of
        another. When a step fails the current pair is kept: `_open` takes up whatever has the current names.
        """
        oldest = self._max_files - 1
        try:
            for name in (containerlog.log_name, containerlog.index_name):
                self._remove(name(oldest))
            for generation in range(oldest - 1, -1, -1):
                for name in (containerlog.index_name, containerlog.log_name):
                    self._rename(name(generation), name(generation + 1))
        finally:
            self.close()
            self._open()

    def _remove(self, name: str) -> None:
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            pass  # fewer rotations than files yet

    def _rename(self, old: str, new: str) -> None:
        try:
            os.rename(self._path(old), self._path(new))
        except FileNotFoundError:
            pass  # fewer rotations than files yet


def _write_all(descriptor: int, data: memoryview | bytes) -> None:
    written = os.write(descriptor, data) if data else 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def _map(descriptor: int) -> mmap.mmap | bytes:
    """The file's bytes for reading; an empty file cannot be mapped."""
    size = os.fstat(descriptor).st_size
    return mmap.mmap(descriptor, size, prot=mmap.PROT_READ) if size else b""


# pathlib would cost the keeper 1 MiB.
# ruff: noqa: PTH104, PTH108
