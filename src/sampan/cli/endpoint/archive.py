"""A context as an archive: `meta.json` and `tls/docker/*.pem`, in a tar or a zip. Pure.

Reading takes names and sizes from strangers: only the expected names count, and nothing is unpacked anywhere.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile

from sampan.cli import failures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

LARGEST_BYTES = 10 << 20
_FOLDER = "tls/docker/"


def pack(members: Mapping[str, Any], material: Mapping[str, bytes]) -> bytes:
    """The tar, as docker writes it: no times, no owners."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:

        def add(name: str, content: bytes, mode: int, kind: bytes = tarfile.REGTYPE) -> None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.type = len(content), mode, kind
            tar.addfile(entry, io.BytesIO(content))

        add("meta.json", json.dumps(members, separators=(",", ":")).encode(), 0o644)
        if material:
            add("tls", b"", 0o700, tarfile.DIRTYPE)
            add("tls/docker", b"", 0o700, tarfile.DIRTYPE)
        for name, content in material.items():
            add(f"{_FOLDER}{name}", content, 0o600)
    return packed.getvalue()


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """`meta.json` and the files of TLS by name. Raises: CliError."""
    if len(content) > LARGEST_BYTES:
        raise failures.CliError("the archive is too large for a context: is it one?")
    members: Any = None
    material: dict[str, bytes] = {}
    try:
        for name, data in _entries(content):
            last = name.removeprefix(_FOLDER)
            if name == "meta.json":
                members = json.loads(data)
            elif name.startswith(_FOLDER) and last and "/" not in last:
                material[last] = data
            else:
                raise failures.CliError(f'"{name}": unexpected context file')
        usable = isinstance(members, dict) and isinstance(members["Endpoints"]["docker"], dict)
        usable = usable and isinstance(members["Metadata"], dict)
    except (tarfile.TarError, zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise failures.CliError(f"the archive holds no context: {error}") from error
    if not usable:
        raise failures.CliError("the archive holds no context: its meta.json has no endpoint of docker")
    return members, material


def _entries(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Files only. The sum of their sizes is bounded before any is read."""
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if sum(info.file_size for info in infos) > LARGEST_BYTES:
                raise failures.CliError("the archive is too large for a context: is it one?")
            for info in infos:
                yield info.filename, archive.read(info)
        return
    # docker ends its archive without the blocks that end one.
    whole = content + bytes(-len(content) % 512 + 1024)
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as tar:
        for entry in tar:
            if entry.isreg():
                opened = tar.extractfile(entry)
                yield entry.name, opened.read() if opened else b""
