"""BuildKit's gRPC services over this daemon's builder: Control, LLBBridge, and what a client's health and traces ask.

Source: moby/buildkit, control/control.go and frontend/gateway/gateway.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sampan import __version__, errors
from sampan.api.engine.buildkit import messages, requests, running
from sampan.api.engine.buildkit.messages import Empty, Timestamp
from sampan.api.engine.buildkit.session_messages import Health
from sampan.api.engine.buildkit.sessions import Sessions
from sampan.api.engine.buildkit.solves import Solve, Solves
from sampan.api.grpc.server import Call, Method, streaming, unary
from sampan.api.grpc.status import CallFailed, Code
from sampan.build.model import CacheEntry

BUILD_ID = "buildkit-controlapi-buildid"
PACKAGE = "sampan"
_CAPABILITIES = (
    # Source: frontend/gateway/pb/caps.go. What is not named is refused by the client itself, in its own words.
    "solve.base",
    "return",
    "returnmap",
    "proto.refarray",
    "frontend.caps",
    "gateway.evaluate",
    "gateway.solve.evaluate",
    "importcaches",
)


class Services:
    """All methods of `/grpc`."""

    def __init__(self, runner: running.Runner, sessions: Sessions, worker_id: str, platform: messages.Platform) -> None:
        self._runner = runner
        self._sessions = sessions
        self._worker = messages.Worker(worker_id, {}, [platform], messages.Version(PACKAGE, f"v{__version__}", ""))
        self.solves = Solves()

    def methods(self) -> Mapping[str, Method]:
        """By path."""
        control, bridge = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"
        return {
            f"{control}ListWorkers": unary(Empty, self._list_workers),
            f"{control}Info": unary(Empty, self._info),
            f"{control}Solve": unary(messages.SolveRequest, self._solve),
            f"{control}Status": streaming(messages.StatusRequest, self._status),
            f"{control}DiskUsage": unary(messages.DiskUsageRequest, self._disk_usage),
            f"{control}Prune": streaming(messages.PruneRequest, self._prune),
            f"{control}ListenBuildHistory": streaming(messages.HistoryRequest, self._history),
            f"{control}UpdateBuildHistory": unary(Empty, self._nothing),
            f"{bridge}Ping": unary(Empty, self._ping),
            f"{bridge}Solve": unary(messages.BridgeSolveRequest, self._bridge_solve),
            f"{bridge}Return": unary(messages.ReturnRequest, self._return),
            f"{bridge}Evaluate": unary(messages.OfRef, self._evaluate),
            f"{bridge}Inputs": unary(Empty, self._nothing),
            f"{bridge}Warn": unary(Empty, self._nothing),
            "/grpc.health.v1.Health/Check": unary(Empty, self._health),
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export": unary(Empty, self._nothing),
        }

    # --- Control

    async def _list_workers(self, request: Empty, call: Call) -> messages.Workers:
        return messages.Workers([self._worker])

    async def _info(self, request: Empty, call: Call) -> messages.Info:
        return messages.Info(self._worker.version)

    async def _solve(self, request: messages.SolveRequest, call: Call) -> messages.SolveResponse:
        """Ends with the build; a client that goes or cancels ends it."""
        exporter = running.exporter_of(request)
        with self.solves.begin(request) as solve:
            solve.task = asyncio.current_task()
            try:
                attrs = await self._frontend(solve)
                if attrs is None:
                    return messages.SolveResponse()  # the client only wanted to know what this daemon can
                session = await self._sessions.get(request.session)
                return messages.SolveResponse(await self._runner.run(session, attrs, exporter, solve.progress))
            except asyncio.CancelledError:
                if solve.cancelled:
                    raise CallFailed(Code.CANCELLED, "context canceled") from None
                raise

    async def _frontend(self, solve: Solve) -> Mapping[str, str] | None:
        """What to build: said with the solve, or returned by the client when it is its own frontend."""
        request = solve.request
        if request.definition:
            raise _no_llb()
        if request.frontend:
            _check_frontend(request.frontend, request.frontend_attrs)
            return request.frontend_attrs
        return await solve.returned

    async def _status(self, request: messages.StatusRequest, call: Call) -> None:
        solve = await self.solves.get(request.ref)
        await call.start()
        async for answer in solve.progress.follow():
            await call.send(answer)

    async def _disk_usage(self, request: messages.DiskUsageRequest, call: Call) -> messages.DiskUsage:
        return messages.DiskUsage([_record(entry) for entry in self._runner.builder.cache()])

    async def _prune(self, request: messages.PruneRequest, call: Call) -> None:
        builder = self._runner.builder
        before = {entry.key: entry for entry in builder.cache()}
        removed, _ = await builder.prune(_filters(request), everything=request.all)
        await call.start()
        for key in removed:
            if key in before:
                await call.send(_record(before[key]))

    async def _history(self, request: messages.HistoryRequest, call: Call) -> None:
        """There is none to tell; a client that waits for news waits."""
        await call.start()
        if not request.early_exit:
            await call.exchange.lost.wait()

    # --- LLBBridge

    async def _ping(self, request: Empty, call: Call) -> messages.Pong:
        capabilities = [messages.Capability(name, enabled=True) for name in _CAPABILITIES]
        return messages.Pong(capabilities, [], [self._worker])

    async def _bridge_solve(self, request: messages.BridgeSolveRequest, call: Call) -> messages.BridgeSolveResponse:
        solve = await self._of(call)
        if request.frontend_inputs:
            raise requests.UnsupportedBuild(
                "a result of another build is no context here", remedy="tag it, and FROM it"
            )
        if not request.frontend:
            raise _no_llb()
        _check_frontend(request.frontend, request.frontend_opt)
        name = solve.keep(request.frontend_opt)
        return messages.BridgeSolveResponse(messages.Result(ref=messages.Ref(name)))

    async def _return(self, request: messages.ReturnRequest, call: Call) -> Empty:
        (await self._of(call)).finish(request)
        return Empty()

    async def _evaluate(self, request: messages.OfRef, call: Call) -> Empty:
        """The build runs when the result is returned; there is nothing to see before."""
        solve = await self._of(call)
        if request.ref not in solve.results:
            raise CallFailed(Code.NOT_FOUND, f"no result {request.ref[:100]!r} in this build")
        return Empty()

    async def _of(self, call: Call) -> Solve:
        ref = call.metadata.get(BUILD_ID, "")
        if not ref:
            raise CallFailed(Code.INVALID_ARGUMENT, "no buildid found in context")
        return await self.solves.get(ref)

    # --- others

    async def _health(self, request: Empty, call: Call) -> Health:
        return Health(1)

    async def _nothing(self, request: Empty, call: Call) -> Empty:
        return Empty()


def _no_llb() -> errors.SampanError:
    return requests.UnsupportedBuild("LLB is not interpreted", remedy="build from a Dockerfile")


def _check_frontend(name: str, attrs: Mapping[str, str]) -> None:
    if name not in requests.FRONTENDS:
        raise requests.UnsupportedBuild(f"unknown frontend {name[:100]!r}", remedy="use dockerfile.v0")
    if attrs.get("requestid"):
        raise requests.UnsupportedBuild(f"unsupported request {attrs['requestid'][:100]}")


def _record(entry: CacheEntry) -> messages.UsageRecord:
    return messages.UsageRecord(
        id=entry.key,
        in_use=entry.in_use,
        size=entry.size_bytes,
        created_at=Timestamp.of(entry.created_ns),
        last_used_at=Timestamp.of(entry.used_ns) if entry.used_ns else None,
        usage_count=entry.uses,
        description=entry.description,
        record_type=entry.kind,
        shared=entry.shared,
        parents=[entry.parent] if entry.parent else [],
    )


def _filters(request: messages.PruneRequest) -> dict[str, tuple[str, ...]]:
    """containerd's `key==value` as the room's filters."""
    found: dict[str, tuple[str, ...]] = {}
    for text in request.filter:
        for part in text.split(","):
            key, _, value = part.partition("=")
            if key:
                word = key.rstrip("~!")
                found[word] = (*found.get(word, ()), value.lstrip("="))
    if request.keep_duration_ns > 0:
        found["until"] = (f"{request.keep_duration_ns // 1_000_000_000}s",)
    return found
