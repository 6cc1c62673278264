"""What the daemon asks a session for. Source: moby/buildkit, session/*/*.proto; tonistiigi/fsutil, types/*.proto."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sampan.formats import protobuf

DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"
SEND_FILES = "/moby.filesync.v1.FileSend/DiffCopy"
PULL_UPLOAD = "/moby.upload.v1.Upload/Pull"
CREDENTIALS = "/moby.filesync.v1.Auth/Credentials"
FETCH_TOKEN = "/moby.filesync.v1.Auth/FetchToken"
GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"
CHECK_AGENT = "/moby.sshforward.v1.SSH/CheckAgent"
FORWARD_AGENT = "/moby.sshforward.v1.SSH/ForwardAgent"
HEALTH = "/grpc.health.v1.Health/Check"


class PacketType(IntEnum):
    """fsutil's packets."""

    STAT = 0
    REQUEST = 1
    DATA = 2
    FINISH = 3
    ERROR = 4


@dataclass
class Stat(protobuf.Message):
    """One entry of a tree. `mode` is Go's os.FileMode."""

    path: str = protobuf.text(1)
    mode: int = protobuf.unsigned(2)
    uid: int = protobuf.unsigned(3)
    gid: int = protobuf.unsigned(4)
    size: int = protobuf.number(5)
    mtime_ns: int = protobuf.number(6)
    linkname: str = protobuf.text(7)
    device_major: int = protobuf.number(8)
    device_minor: int = protobuf.number(9)
    xattrs: dict[str, bytes] = protobuf.data_map(10)


@dataclass
class Packet(protobuf.Message):
    """fsutil's one message. A STAT without `stat` ends the list; DATA without `data` ends a file."""

    type: int = protobuf.number(1)
    stat: Stat | None = protobuf.message(2, Stat)
    id: int = protobuf.unsigned(3)
    data: bytes = protobuf.data(4)

    @property
    def size_bytes(self) -> int:
        """What it counts for in the client's progress, near enough."""
        return len(self.data) + (len(self.stat.path) + 20 if self.stat is not None else 0)


@dataclass
class Piece(protobuf.Message):
    """BytesMessage of several services."""

    data: bytes = protobuf.data(1)


@dataclass
class Named(protobuf.Message):
    """Requests with one text: CheckAgent, GetSecret, Credentials."""

    name: str = protobuf.text(1)


@dataclass
class Login(protobuf.Message):
    """CredentialsResponse."""

    username: str = protobuf.text(1)
    secret: str = protobuf.text(2)


@dataclass
class Health(protobuf.Message):
    """HealthCheckResponse; 1 is serving."""

    status: int = protobuf.number(1)
