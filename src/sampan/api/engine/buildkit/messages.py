"""What BuildKit's client and daemon say to each other on `/grpc`.

Source: moby/buildkit, api/services/control/control.proto, frontend/gateway/pb/gateway.proto, api/types/worker.proto,
util/apicaps/pb/caps.proto, solver/pb/ops.proto.

Fields that nobody here reads are left out: the codec skips them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.api.grpc.status import StatusMessage
from sampan.formats import protobuf


@dataclass
class Empty(protobuf.Message):
    """A message without fields."""


@dataclass
class Timestamp(protobuf.Message):
    """google.protobuf.Timestamp."""

    seconds: int = protobuf.number(1)
    nanos: int = protobuf.number(2)

    @classmethod
    def of(cls, time_ns: int) -> Timestamp:
        """From nanoseconds since 1970."""
        return cls(time_ns // 1_000_000_000, time_ns % 1_000_000_000)


# --- workers


@dataclass
class Platform(protobuf.Message):
    """pb.Platform."""

    architecture: str = protobuf.text(1)
    os: str = protobuf.text(2)
    variant: str = protobuf.text(3)


@dataclass
class Version(protobuf.Message):
    """BuildkitVersion."""

    package: str = protobuf.text(1)
    version: str = protobuf.text(2)
    revision: str = protobuf.text(3)


@dataclass
class Worker(protobuf.Message):
    """WorkerRecord."""

    id: str = protobuf.text(1)
    labels: dict[str, str] = protobuf.text_map(2)
    platforms: list[Platform] = protobuf.messages(3, Platform)
    version: Version | None = protobuf.message(5, Version)


@dataclass
class Workers(protobuf.Message):
    """ListWorkersResponse."""

    record: list[Worker] = protobuf.messages(1, Worker)


@dataclass
class Info(protobuf.Message):
    """InfoResponse."""

    version: Version | None = protobuf.message(1, Version)


# --- solving


@dataclass
class Exporter(protobuf.Message):
    """Where a result goes."""

    type: str = protobuf.text(1)
    attrs: dict[str, str] = protobuf.text_map(2)


@dataclass
class CacheEntry(protobuf.Message):
    """CacheOptionsEntry."""

    type: str = protobuf.text(1)
    attrs: dict[str, str] = protobuf.text_map(2)


@dataclass
class CacheOptions(protobuf.Message):
    """CacheOptions."""

    exports: list[CacheEntry] = protobuf.messages(4, CacheEntry)
    imports: list[CacheEntry] = protobuf.messages(5, CacheEntry)


@dataclass
class SolveRequest(protobuf.Message):
    """Control.Solve. `definition` (LLB) is kept as bytes: it is only looked at for being there."""

    ref: str = protobuf.text(1)
    definition: bytes = protobuf.data(2)
    exporter: str = protobuf.text(3)
    exporter_attrs: dict[str, str] = protobuf.text_map(4)
    session: str = protobuf.text(5)
    frontend: str = protobuf.text(6)
    frontend_attrs: dict[str, str] = protobuf.text_map(7)
    cache: CacheOptions | None = protobuf.message(8, CacheOptions)
    entitlements: list[str] = protobuf.texts(9)
    internal: bool = protobuf.switch(11)
    exporters: list[Exporter] = protobuf.messages(13, Exporter)


@dataclass
class SolveResponse(protobuf.Message):
    """Control.Solve's answer."""

    exporter_response: dict[str, str] = protobuf.text_map(1)


# --- progress


@dataclass
class StatusRequest(protobuf.Message):
    """Control.Status."""

    ref: str = protobuf.text(1)


@dataclass
class Vertex(protobuf.Message):
    """A step of the progress."""

    digest: str = protobuf.text(1)
    inputs: list[str] = protobuf.texts(2)
    name: str = protobuf.text(3)
    cached: bool = protobuf.switch(4)
    started: Timestamp | None = protobuf.message(5, Timestamp)
    completed: Timestamp | None = protobuf.message(6, Timestamp)
    error: str = protobuf.text(7)


@dataclass
class VertexStatus(protobuf.Message):
    """Something a vertex counts: bytes of a transfer."""

    id: str = protobuf.text(1)
    vertex: str = protobuf.text(2)
    name: str = protobuf.text(3)
    current: int = protobuf.number(4)
    total: int = protobuf.number(5)
    timestamp: Timestamp | None = protobuf.message(6, Timestamp)
    started: Timestamp | None = protobuf.message(7, Timestamp)
    completed: Timestamp | None = protobuf.message(8, Timestamp)


@dataclass
class VertexLog(protobuf.Message):
    """Output of a vertex. Stream 1 is stdout, 2 is stderr."""

    vertex: str = protobuf.text(1)
    timestamp: Timestamp | None = protobuf.message(2, Timestamp)
    stream: int = protobuf.number(3)
    msg: bytes = protobuf.data(4)


@dataclass
class SourceInfo(protobuf.Message):
    """pb.SourceInfo: the Dockerfile."""

    filename: str = protobuf.text(1)
    data: bytes = protobuf.data(2)
    language: str = protobuf.text(4)


@dataclass
class Position(protobuf.Message):
    """pb.Position; lines count from 1."""

    line: int = protobuf.number(1)
    character: int = protobuf.number(2)


@dataclass
class Range(protobuf.Message):
    """pb.Range."""

    start: Position | None = protobuf.message(1, Position)
    end: Position | None = protobuf.message(2, Position)


@dataclass
class VertexWarning(protobuf.Message):
    """A remark about the Dockerfile."""

    vertex: str = protobuf.text(1)
    level: int = protobuf.number(2)
    short: bytes = protobuf.data(3)
    detail: list[bytes] = protobuf.datas(4)
    url: str = protobuf.text(5)
    info: SourceInfo | None = protobuf.message(6, SourceInfo)
    ranges: list[Range] = protobuf.messages(7, Range)


@dataclass
class StatusResponse(protobuf.Message):
    """News of a solve."""

    vertexes: list[Vertex] = protobuf.messages(1, Vertex)
    statuses: list[VertexStatus] = protobuf.messages(2, VertexStatus)
    logs: list[VertexLog] = protobuf.messages(3, VertexLog)
    warnings: list[VertexWarning] = protobuf.messages(4, VertexWarning)


# --- the cache


@dataclass
class PruneRequest(protobuf.Message):
    """Control.Prune."""

    filter: list[str] = protobuf.texts(1)
    all: bool = protobuf.switch(2)
    keep_duration_ns: int = protobuf.number(3)
    keep_bytes: int = protobuf.number(4)


@dataclass
class DiskUsageRequest(protobuf.Message):
    """Control.DiskUsage."""

    filter: list[str] = protobuf.texts(1)


@dataclass
class UsageRecord(protobuf.Message):
    """One record of the cache."""

    id: str = protobuf.text(1)
    mutable: bool = protobuf.switch(2)
    in_use: bool = protobuf.switch(3)
    size: int = protobuf.number(4)
    created_at: Timestamp | None = protobuf.message(6, Timestamp)
    last_used_at: Timestamp | None = protobuf.message(7, Timestamp)
    usage_count: int = protobuf.number(8)
    description: str = protobuf.text(9)
    record_type: str = protobuf.text(10)
    shared: bool = protobuf.switch(11)
    parents: list[str] = protobuf.texts(12)


@dataclass
class DiskUsage(protobuf.Message):
    """DiskUsageResponse."""

    record: list[UsageRecord] = protobuf.messages(1, UsageRecord)


# --- the gateway


@dataclass
class Capability(protobuf.Message):
    """apicaps.APICap."""

    id: str = protobuf.text(1)
    enabled: bool = protobuf.switch(2)
    reason: str = protobuf.text(5)


@dataclass
class Pong(protobuf.Message):
    """LLBBridge.Ping's answer."""

    frontend: list[Capability] = protobuf.messages(1, Capability)
    llb: list[Capability] = protobuf.messages(2, Capability)
    workers: list[Worker] = protobuf.messages(3, Worker)


@dataclass
class BridgeSolveRequest(protobuf.Message):
    """LLBBridge.Solve."""

    definition: bytes = protobuf.data(1)
    frontend: str = protobuf.text(2)
    frontend_opt: dict[str, str] = protobuf.text_map(3)
    frontend_inputs: dict[str, bytes] = protobuf.data_map(13)
    evaluate: bool = protobuf.switch(14)


@dataclass
class Ref(protobuf.Message):
    """A name of a result."""

    id: str = protobuf.text(1)


@dataclass
class RefMap(protobuf.Message):
    """Results by platform."""

    refs: dict[str, Ref] = protobuf.message_map(1, Ref)


@dataclass
class Result(protobuf.Message):
    """gateway.Result."""

    ref_deprecated: str = protobuf.text(1)
    ref: Ref | None = protobuf.message(3, Ref)
    refs: RefMap | None = protobuf.message(4, RefMap)
    metadata: dict[str, bytes] = protobuf.data_map(10)


@dataclass
class BridgeSolveResponse(protobuf.Message):
    """LLBBridge.Solve's answer."""

    result: Result | None = protobuf.message(3, Result)


@dataclass
class ReturnRequest(protobuf.Message):
    """LLBBridge.Return."""

    result: Result | None = protobuf.message(1, Result)
    error: StatusMessage | None = protobuf.message(2, StatusMessage)


@dataclass
class OfRef(protobuf.Message):
    """Requests about a result: Evaluate, ReadFile, StatFile, ReadDir."""

    ref: str = protobuf.text(1)
    path: str = protobuf.text(2)


@dataclass
class Location:
    """Where in the Dockerfile something is said; lines from 1, inclusive."""

    filename: str
    content: bytes
    first: int
    last: int

    def info(self) -> SourceInfo:
        """The file."""
        return SourceInfo(filename=self.filename, data=self.content, language="Dockerfile")

    def range(self) -> Range:
        """The lines."""
        return Range(start=Position(self.first), end=Position(self.last))


@dataclass
class HistoryRequest(protobuf.Message):
    """Control.ListenBuildHistory."""

    ref: str = protobuf.text(2)
    early_exit: bool = protobuf.switch(3)
