"""What buildx asks in a build, against a builder that only tells: progress, results, failures, cancelling, secrets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import secrets
import tarfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

import buildclient
from sampan.api.engine.buildkit import messages, running, session_messages
from sampan.api.engine.buildkit.services import BUILD_ID, Services
from sampan.api.engine.buildkit.session_messages import Login, Named, Piece
from sampan.api.engine.buildkit.sessions import Sessions
from sampan.api.grpc import h2
from sampan.api.grpc.client import Client
from sampan.api.grpc.server import Call, Method, Server, unary
from sampan.api.grpc.status import CallFailed, Code, Detail, StatusMessage
from sampan.build import kept, model
from sampan.formats.digest import Digest
from sampan.images import platforms

CONTROL, BRIDGE = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"
IMAGE = Digest.of(b"image")
DOCKERFILE = b"FROM base\n# words\nRUN one \\\n  two\n"


def step(number: int, text: str, line: int) -> model.Step:
    return model.Step(
        index=number,
        total=2,
        stage="",
        stage_index=0,
        stage_position=number,
        stage_total=2,
        text=text,
        name=text,
        line=line,
        digest=str(Digest.of(text.encode())),
        inputs=(),
    )


FROM, RUN = step(1, "FROM base", 1), step(2, "RUN one   two", 3)


@dataclass
class Told:
    """A builder that tells a build. `work` runs in its middle."""

    work: Callable[[Told], Awaitable[None]] | None = None
    error: Exception | None = None
    request: model.Request | None = None
    context: model.Context | None = None
    secrets: model.Secrets | None = None
    ssh: model.Ssh | None = None
    logins: model.Logins | None = None
    began: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    scratch: Path | None = None
    kept: kept.Contexts = field(default_factory=lambda: kept.Contexts(Path("/nonexistent")))

    def receive(self) -> Path:
        assert self.scratch is not None
        place = self.scratch / secrets.token_hex(4)
        place.mkdir(parents=True)
        return place

    async def build(
        self, request: model.Request, context: model.Context, *, report: Callable[[model.Event], None], **more: Any
    ) -> model.Result:
        self.request, self.context = request, context
        self.secrets, self.ssh, self.logins = more["secrets"], more["ssh"], more["logins"]
        self.began.set()
        try:
            return await self._build(request, report)
        finally:
            self.ended.set()

    async def _build(self, request: model.Request, report: Callable[[model.Event], None]) -> model.Result:
        now = time.time_ns()
        report(model.Planned((FROM, RUN)))
        report(model.StepStarted(FROM, now))
        report(model.StepCached(FROM))
        report(model.StepFinished(FROM, str(IMAGE), now))
        report(model.StepStarted(RUN, now))
        report(model.StepLog(RUN, "stdout", b"said\n", now))
        report(model.StepLog(RUN, "stderr", b"moaned\n", now))
        if self.work is not None:
            await self.work(self)
        if isinstance(self.error, model.BuildFailed):
            report(model.StepFailed(RUN, self.error, self.error.exit_code, now))
        if self.error is not None:
            raise self.error
        report(model.StepFinished(RUN, str(IMAGE), now))
        report(model.Warned("an old form", 3))
        report(model.Built(IMAGE))
        for tag in request.tags:
            report(model.Tagged(IMAGE, f"docker.io/library/{tag}"))
        return model.Result(IMAGE, IMAGE, (), tuple(f"docker.io/library/{tag}" for tag in request.tags))

    def cache(self) -> list[model.CacheEntry]:
        return [model.CacheEntry("k1", "", "RUN one", 100, 1, 2, 3, False, True)]

    async def prune(self, filters: dict[str, tuple[str, ...]], *, everything: bool) -> tuple[list[str], int]:
        self.filters = (filters, everything)
        return ["k1"], 100


class Images:
    """As much of the image store as a build's beginning asks."""

    platform = platforms.parse("linux/amd64")


@dataclass
class Daemon:
    """Services over wires, as a client sees them."""

    client: Client
    services: Services
    sessions: Sessions
    scratch: Path

    async def unary(self, path: str, request: Any, kind: Any, build: str = "") -> Any:
        return await self.client.unary(path, request, kind, metadata=[(BUILD_ID, build)] if build else [])

    async def status(self, ref: str) -> messages.StatusResponse:
        """Everything that Status tells."""
        whole = messages.StatusResponse()
        async with self.client.calling(f"{CONTROL}Status") as call:
            await call.send(messages.StatusRequest(ref))
            await call.end()
            while (news := await call.receive(messages.StatusResponse)) is not None:
                whole.vertexes += news.vertexes
                whole.statuses += news.statuses
                whole.logs += news.logs
                whole.warnings += news.warnings
        return whole

    async def build(
        self, attrs: Mapping[str, str] | None = None, exporter: messages.Exporter | None = None, ref: str = "r1"
    ) -> tuple[messages.SolveResponse, messages.StatusResponse]:
        """A build as buildx does it: the client is its own frontend."""
        output = exporter or messages.Exporter("moby", {"name": "app:1"})
        request = messages.SolveRequest(ref=ref, session="s1", exporters=[output])
        status = asyncio.create_task(self.status(ref))
        solve = asyncio.create_task(self.unary(f"{CONTROL}Solve", request, messages.SolveResponse))
        try:
            await self.unary(f"{BRIDGE}Ping", messages.Empty(), messages.Pong, ref)
            asked = messages.BridgeSolveRequest(
                frontend="dockerfile.v0", frontend_opt={"filename": "Dockerfile", **(attrs or {})}
            )
            answer = await self.unary(f"{BRIDGE}Solve", asked, messages.BridgeSolveResponse, ref)
            await self.unary(f"{BRIDGE}Return", messages.ReturnRequest(answer.result), messages.Empty, ref)
        except CallFailed as failure:
            returned = messages.ReturnRequest(error=StatusMessage(int(failure.code), failure.what))
            await self.unary(f"{BRIDGE}Return", returned, messages.Empty, ref)
        try:
            return await solve, await status
        finally:
            status.cancel()
            solve.cancel()
            await asyncio.gather(status, solve, return_exceptions=True)


@contextlib.asynccontextmanager
async def daemon(builder: Told, folder: Path, methods: Mapping[str, Method] | None = None) -> AsyncIterator[Daemon]:
    """A daemon with a session `s1` that serves `methods`, and the context in `folder/context`."""
    sessions = Sessions()
    scratch = folder / "scratch"
    builder.scratch = scratch
    runner = running.Runner(cast(Any, builder), cast(Any, Images()))
    services = Services(runner, sessions, "worker", messages.Platform("amd64", "linux"))
    served = dict(methods or {})
    if (folder / "context").exists():
        sender = buildclient.sending({"dockerfile": folder / "context", "context": folder / "context"})
        served.setdefault(buildclient.FILES, sender)
    near, far = buildclient.wires()
    session_near, session_far = buildclient.wires()
    connection = h2.Connection(near, client=True)
    tasks = [
        asyncio.create_task(h2.Connection(far, client=False, serve=Server(services.methods()).serve).run()),
        asyncio.create_task(connection.run()),
        asyncio.create_task(h2.Connection(session_far, client=False, serve=Server(served).serve).run()),
        asyncio.create_task(sessions.serve(session_near, "s1", "test", "", list(served))),
    ]
    try:
        yield Daemon(Client(connection), services, sessions, scratch)
    finally:
        await connection.close()
        session_far.close()
        await asyncio.wait_for(asyncio.gather(*tasks), buildclient.LIMIT_S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_bytes(DOCKERFILE)
    (context / ".dockerignore").write_text("# not these\n*.log\n\n!keep.log\n/top\n")
    (context / "file").write_text("content")
    return tmp_path


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(cast(Any, test()), buildclient.LIMIT_S))


def test_a_build_tells_its_steps_and_gives_the_image(folder: Path) -> None:
    async def test() -> None:
        builder = Told()
        async with daemon(builder, folder) as here:
            response, status = await here.build()
        assert response.exporter_response == {
            "containerimage.digest": str(IMAGE),
            "containerimage.config.digest": str(IMAGE),
            "image.name": "docker.io/library/app:1",
        }
        last = {vertex.name: vertex for vertex in status.vertexes}
        assert list(last) == [
            "[internal] load build definition from Dockerfile",
            "[internal] load .dockerignore",
            "[1/2] FROM docker.io/library/base:latest",
            "[2/2] RUN one   two",
            "exporting to image",
        ]
        assert all(vertex.completed is not None and not vertex.error for vertex in last.values())
        assert last["[1/2] FROM docker.io/library/base:latest"].cached
        assert not last["[2/2] RUN one   two"].cached
        assert [(log.stream, log.msg) for log in status.logs] == [(1, b"said\n"), (2, b"moaned\n")]
        assert [line.id for line in status.statuses if line.completed][-2:] == [
            f"writing image {IMAGE}",
            "naming to docker.io/library/app:1",
        ]
        (warning,) = status.warnings
        assert (warning.short, warning.ranges[0].start.line, warning.ranges[0].end.line) == (b"an old form", 3, 4)  # type: ignore[union-attr]
        assert builder.request is not None
        assert (builder.request.dockerfile, builder.request.tags) == (DOCKERFILE, ("app:1",))
        assert not any(here.scratch.iterdir())

    run(test)


def test_the_frontends_options_become_the_builds_request(folder: Path) -> None:
    attrs = {
        "target": "two",
        "build-arg:A": "1",
        "build-arg:EMPTY": "",
        "label:l": "v",
        "no-cache": "one,two",
        "add-hosts": "h=1.2.3.4,v6=::1",
        "force-network-mode": "none",
        "shm-size": "67108864",
        "ulimit": "nofile=100:200,nproc=5",
        "cgroup-parent": "cg",
        "image-resolve-mode": "pull",
        "build-arg:SOURCE_DATE_EPOCH": "7",
        "platform": "linux/amd64",
        "hostname": "host",
    }

    async def test() -> None:
        builder = Told()
        async with daemon(builder, folder) as here:
            await here.build(attrs)
        assert builder.request == model.Request(
            dockerfile=DOCKERFILE,
            target="two",
            build_args={"A": "1", "EMPTY": "", "SOURCE_DATE_EPOCH": "7"},
            labels={"l": "v"},
            tags=("app:1",),
            no_cache_stages=frozenset({"one", "two"}),
            pull=True,
            platform="linux/amd64",
            limits=model.Limits(
                shm_size_bytes=67108864, cgroup_parent="cg", ulimits=(("nofile", 100, 200), ("nproc", 5, 5))
            ),
            network_mode="none",
            extra_hosts=("h:1.2.3.4", "v6:::1"),
            source_date_epoch=7,
            hostname="host",
        )

    run(test)


@pytest.mark.parametrize(
    ("attrs", "said"),
    [
        ({"platform": "linux/amd64,linux/arm64"}, "one platform"),
        ({"shm-size": "much"}, "shm-size"),
        ({"ulimit": "nofile=x"}, "ulimit"),
        ({"force-network-mode": "container:x"}, "network mode"),
        ({"context": "https://example.org/repo.git"}, "not fetched"),
        ({"context:base": "oci-layout://x"}, "not supported"),
        ({"attest:sbom": ""}, ""),
        ({"attest:provenance": "mode=max"}, "attestations"),
        ({"teleport": "yes"}, "'teleport' is not known"),
        ({"requestid": "frontend.outline"}, "unsupported request frontend.outline"),
        ({"filename": "../scratch/../context/Dockerfile"}, "no such file"),
        ({"filename": "/etc/passwd"}, "no such file"),
        ({"build-arg:SOURCE_DATE_EPOCH": "yesterday"}, "SOURCE_DATE_EPOCH"),
    ],
)
def test_what_is_not_done_is_said_and_builds_nothing(attrs: dict[str, str], said: str, folder: Path) -> None:
    async def test() -> None:
        builder = Told()
        async with daemon(builder, folder) as here:
            if not said:
                await here.build(attrs)
                return
            with pytest.raises(CallFailed) as caught:
                await here.build(attrs)
            assert said in caught.value.what
            assert not builder.began.is_set()
            assert not here.scratch.exists() or not any(here.scratch.iterdir())

    run(test)


def test_directories_come_when_they_are_wanted_and_without_what_is_ignored(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other/o").write_text("o")
    asked: list[Mapping[str, str]] = []
    directories = {"dockerfile": folder / "context", "context": folder / "context", "other": folder / "other"}
    seen: dict[str, Any] = {}

    async def look(builder: Told) -> None:
        assert builder.context is not None
        before = len(asked)
        first, second = await asyncio.gather(builder.context.directory(""), builder.context.directory(""))
        assert first == second
        assert len(asked) == before + 1
        assert first is not None
        seen["main"] = sorted(path.name for path in first.iterdir())
        seen["excludes"] = asked[-1]["exclude-patterns"]
        named = await builder.context.directory("more")
        assert named is not None
        seen["named"] = sorted(path.name for path in named.iterdir())
        seen["image"] = await builder.context.directory("base")
        seen["unknown"] = await builder.context.directory("nothing")

    async def test() -> None:
        methods = {buildclient.FILES: buildclient.sending(directories, asked)}
        async with daemon(Told(work=look), folder, methods) as here:
            await here.build({"context:more": "local:other", "context:base": "docker-image://bb:1"})
            assert not any(here.scratch.iterdir())

    run(test)
    assert seen["main"] == [".dockerignore", "Dockerfile", "file"]
    assert seen["excludes"] == "top"  # the last of three headers
    assert (seen["named"], seen["image"], seen["unknown"]) == (["o"], None, None)


def test_a_failing_command_is_told_as_buildkit_tells_it(folder: Path) -> None:
    async def test() -> None:
        error = model.BuildFailed("The command '/bin/sh -c one   two' returned a non-zero code: 7", exit_code=7, line=3)
        async with daemon(Told(error=error), folder) as here:
            status = asyncio.create_task(here.status("r1"))
            with pytest.raises(CallFailed) as caught:
                await here.build()
            failed = [vertex for vertex in (await status).vertexes if vertex.error]
        failure = caught.value
        expected = 'process "/bin/sh -c one   two" did not complete successfully: exit code: 7'
        assert (failure.code, failure.what) == (Code.UNKNOWN, expected)
        assert [vertex.error for vertex in failed] == [expected]
        details = {detail.type_url: json.loads(detail.value) for detail in failure.details}
        source = details["github.com/moby/buildkit/errdefs.Source+json"]
        assert base64.b64decode(source["info"]["data"]) == DOCKERFILE
        assert source["ranges"] == [{"start": {"line": 3}, "end": {"line": 4}}]
        assert details["github.com/moby/buildkit/errdefs.Vertex+json"] == {"digest": RUN.digest}

    run(test)


def test_a_client_that_goes_ends_the_build_and_takes_its_files_along(folder: Path) -> None:
    async def wait(builder: Told) -> None:
        assert builder.context is not None
        await builder.context.directory("")
        builder.reached.set()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async def test() -> None:
        builder = Told(work=wait)
        builder.reached = asyncio.Event()  # type: ignore[attr-defined]
        async with daemon(builder, folder) as here:
            build = asyncio.create_task(here.build())
            await builder.reached.wait()  # type: ignore[attr-defined]
            assert any(here.scratch.iterdir())
            build.cancel()
            await asyncio.gather(build, return_exceptions=True)
            await builder.ended.wait()
            while any(here.scratch.iterdir()):
                await asyncio.sleep(0)

    run(test)


def test_a_build_is_cancelled_by_its_name(folder: Path) -> None:
    async def wait(builder: Told) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        builder = Told(work=wait)
        async with daemon(builder, folder) as here:
            build = asyncio.create_task(here.build())
            await builder.began.wait()
            assert here.services.solves.cancel("r1")
            with pytest.raises(CallFailed) as caught:
                await build
            assert caught.value.code is Code.CANCELLED
            assert not here.services.solves.cancel("r2")

    run(test)


def test_secrets_logins_and_the_agent_are_asked_for_on_demand(folder: Path) -> None:
    seen: dict[str, Any] = {}

    async def secret(request: Named, call: Call) -> Piece:
        if request.name != "s":
            raise CallFailed(Code.NOT_FOUND, "rpc error: code = NotFound desc = not found")
        return Piece(b"hush")

    async def login(request: Named, call: Call) -> Login:
        return Login("me", "pw") if request.name == "registry.local:5000" else Login()

    async def check(request: Named, call: Call) -> messages.Empty:
        if request.name != "default":
            raise CallFailed(Code.UNKNOWN, f"unset ssh forward key {request.name}")
        return messages.Empty()

    async def agent(call: Call) -> None:
        seen["id"] = call.metadata.get("buildkit.ssh.id")
        await call.start()
        while (content := await call.messages.next()) is not None:
            await call.send(Piece(Piece.decode(content).data.upper()))

    async def use(builder: Told) -> None:
        assert builder.secrets is not None
        assert builder.logins is not None
        assert builder.ssh is not None
        seen["secret"] = await builder.secrets.get("s")
        seen["no secret"] = await builder.secrets.get("t")
        seen["login"] = await builder.logins.get("registry.local:5000")
        seen["no login"] = await builder.logins.get("other")
        async with builder.ssh.agent("default") as path:
            assert path is not None
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"who")
            seen["agent"] = await reader.readexactly(3)
            writer.close()
        seen["gone"] = path.exists()
        async with builder.ssh.agent("work") as path:
            seen["no agent"] = path

    methods = {
        session_messages.GET_SECRET: unary(Named, secret),
        session_messages.CREDENTIALS: unary(Named, login),
        session_messages.CHECK_AGENT: unary(Named, check),
        session_messages.FORWARD_AGENT: agent,
    }

    async def test() -> None:
        async with daemon(Told(work=use), folder, methods) as here:
            await here.build()

    run(test)
    assert (seen["secret"], seen["no secret"]) == (b"hush", None)
    assert (seen["login"].username, seen["login"].password, seen["no login"]) == ("me", "pw", None)
    assert (seen["agent"], seen["id"], seen["gone"], seen["no agent"]) == (b"WHO", "default", False, None)


@pytest.mark.parametrize("compressed", [True, False])
def test_a_context_may_come_as_one_stream(compressed: bool, folder: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz" if compressed else "w") as archive:
        archive.add(folder / "context", ".")
    content = packed.getvalue()
    seen: dict[str, Any] = {}

    async def pull(call: Call) -> None:
        seen["path"] = call.metadata["urlpath"]
        await call.start()
        for start in range(0, len(content), 100):
            await call.send(Piece(content[start : start + 100]))

    async def look(builder: Told) -> None:
        assert builder.context is not None
        directory = await builder.context.directory("")
        assert directory is not None
        seen["names"] = sorted(path.name for path in directory.iterdir())

    async def test() -> None:
        builder = Told(work=look)
        async with daemon(builder, folder, {session_messages.PULL_UPLOAD: pull}) as here:
            await here.build({"context": "http://buildkit-session/abc"})
        assert builder.request is not None
        assert builder.request.dockerfile == DOCKERFILE

    run(test)
    assert seen == {"path": "/abc", "names": [".dockerignore", "Dockerfile", "file"]}


def test_a_stream_that_is_no_archive_is_a_dockerfile(folder: Path) -> None:
    async def pull(call: Call) -> None:
        await call.send(Piece(DOCKERFILE))

    async def test() -> None:
        builder = Told()
        async with daemon(builder, folder, {session_messages.PULL_UPLOAD: pull}) as here:
            await here.build({"context": "http://buildkit-session/abc", "filename": "other"})
        assert builder.request is not None
        assert builder.request.dockerfile == DOCKERFILE

    run(test)


def test_probes_listings_and_the_cache(folder: Path) -> None:
    async def test() -> None:
        builder = Told()
        async with daemon(builder, folder) as here:
            workers = await here.unary(f"{CONTROL}ListWorkers", messages.Empty(), messages.Workers)
            assert workers.record[0].platforms == [messages.Platform("amd64", "linux")]
            info = await here.unary(f"{CONTROL}Info", messages.Empty(), messages.Info)
            assert info.version.package == "sampan"
            usage = await here.unary(f"{CONTROL}DiskUsage", messages.DiskUsageRequest(), messages.DiskUsage)
            assert [(one.id, one.size, one.shared) for one in usage.record] == [("k1", 100, True)]
            async with here.client.calling(f"{CONTROL}Prune") as call:
                request = messages.PruneRequest(
                    filter=["type==regular", "id~=k"], all=True, keep_duration_ns=60 * 10**9
                )
                await call.send(request)
                await call.end()
                record = await call.receive(messages.UsageRecord)
                assert record is not None
                assert await call.receive(messages.UsageRecord) is None
            assert builder.filters == ({"type": ("regular",), "id": ("k",), "until": ("60s",)}, True)
            health = await here.unary("/grpc.health.v1.Health/Check", messages.Empty(), session_messages.Health)
            assert health.status == 1
            probe = asyncio.create_task(
                here.unary(f"{CONTROL}Solve", messages.SolveRequest(ref="p", internal=True), messages.SolveResponse)
            )
            returned = messages.ReturnRequest(messages.Result(ref=messages.Ref()))
            await here.unary(f"{BRIDGE}Return", returned, messages.Empty, "p")
            assert (await probe).exporter_response == {}
            assert (await here.status("p")).vertexes == []  # a late watcher

    run(test)


HOSTILE: dict[str, tuple[str, Any, str]] = {
    "no reference": (f"{CONTROL}Solve", messages.SolveRequest(), ""),
    "a reference too long": (f"{CONTROL}Solve", messages.SolveRequest(ref="r" * 5000), ""),
    "LLB": (f"{CONTROL}Solve", messages.SolveRequest(ref="a", definition=b"\x0a\x00"), ""),
    "another frontend": (f"{CONTROL}Solve", messages.SolveRequest(ref="b", frontend="x"), ""),
    "two outputs": (
        f"{CONTROL}Solve",
        messages.SolveRequest(ref="c", exporters=[messages.Exporter("tar"), messages.Exporter("local")]),
        "",
    ),
    "an unknown output": (
        f"{CONTROL}Solve",
        messages.SolveRequest(ref="d", session="s1", frontend="dockerfile.v0", exporters=[messages.Exporter("oci")]),
        "",
    ),
    "no build": (f"{BRIDGE}Ping2", messages.Empty(), ""),
    "a bridge without a build": (f"{BRIDGE}Return", messages.ReturnRequest(), ""),
    "an unknown method": (f"{CONTROL}Session", messages.Empty(), ""),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_meant_is_refused_and_the_daemon_goes_on(name: str, folder: Path) -> None:
    async def test() -> None:
        path, request, build = HOSTILE[name]
        builder = Told()
        async with daemon(builder, folder) as here:
            with pytest.raises(CallFailed) as caught:
                await here.unary(path, request, messages.Empty, build)
            assert caught.value.code is not Code.INTERNAL
            assert not builder.began.is_set()
            await here.unary("/grpc.health.v1.Health/Check", messages.Empty(), session_messages.Health)

    run(test)


def test_an_error_of_the_clients_frontend_is_the_solves(folder: Path) -> None:
    async def test() -> None:
        async with daemon(Told(), folder) as here:
            solve = asyncio.create_task(
                here.unary(f"{CONTROL}Solve", messages.SolveRequest(ref="e"), messages.SolveResponse)
            )
            error = StatusMessage(2, "it broke", [Detail("t", b"v")])
            await here.unary(f"{BRIDGE}Return", messages.ReturnRequest(error=error), messages.Empty, "e")
            with pytest.raises(CallFailed, match="it broke") as caught:
                await solve
            assert caught.value.details == (Detail("t", b"v"),)

    run(test)


def test_a_steps_output_is_cut_at_its_limit(folder: Path) -> None:
    async def test() -> None:
        builder = Told()

        async def shout(told: Told) -> None:
            pass

        builder.work = shout
        original = builder._build

        async def loud(request: model.Request, report: Callable[[model.Event], None]) -> model.Result:
            for _ in range(50):
                report(model.StepLog(RUN, "stdout", b"x" * 100_000, 1))
            return await original(request, report)

        builder._build = loud  # type: ignore[method-assign]
        async with daemon(builder, folder) as here:
            _, status = await here.build()
        whole = b"".join(log.msg for log in status.logs)
        assert len(whole) < (2 << 20) + 100
        assert whole.endswith(b"[output clipped, log limit 2MiB reached]\n")

    run(test)
