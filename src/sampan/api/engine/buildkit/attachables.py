"""What a build asks its client for besides files: secrets, the SSH agent, logins. All on demand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from sampan import errors
from sampan.api.engine.buildkit import messages, session_messages
from sampan.api.engine.buildkit.session_messages import Piece
from sampan.api.engine.buildkit.sessions import Session
from sampan.api.grpc.client import ClientCall
from sampan.api.grpc.status import CallFailed, Code
from sampan.images.model import Credentials

LARGEST_SECRET_BYTES = 500 << 10  # Source: moby/buildkit, session/secrets: the client takes no larger one
PIECE_BYTES = 32 << 10
MOST_AGENT_CONNECTIONS = 32


class ClientSecrets:
    """`build.model.Secrets` over a session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, secret_id: str) -> bytes | None:
        """None if the client has none by that id."""
        if not self._session.serves(session_messages.GET_SECRET):
            return None
        try:
            answer = await self._session.client.unary(
                session_messages.GET_SECRET, session_messages.Named(secret_id), Piece
            )
        except CallFailed as failure:
            if failure.code is Code.NOT_FOUND:
                return None
            raise
        return answer.data[: LARGEST_SECRET_BYTES + 1]


class ClientLogins:
    """`build.model.Logins` over a session: what `docker login` left on the client."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, host: str) -> Credentials | None:
        """None if it has none for that registry."""
        if not self._session.serves(session_messages.CREDENTIALS):
            return None
        name = "registry-1.docker.io" if host in ("docker.io", "index.docker.io") else host
        try:
            login = await self._session.client.unary(
                session_messages.CREDENTIALS, session_messages.Named(name), session_messages.Login
            )
        except CallFailed:
            return None  # as without a login: the registry says what it wants
        if not login.secret:
            return None
        if not login.username:
            return Credentials(identity_token=login.secret)
        return Credentials(username=login.username, password=login.secret)


class ClientSsh:
    """`build.model.Ssh` over a session. Sockets are made in `folder`."""

    def __init__(self, session: Session, folder: Path) -> None:
        self._session = session
        self._folder = folder

    def agent(self, agent_id: str) -> AbstractAsyncContextManager[Path | None]:
        """Inside, a socket that forwards to the client's agent; None if it forwards none by that id."""
        return self._agent(agent_id)

    @contextlib.asynccontextmanager
    async def _agent(self, agent_id: str) -> AsyncIterator[Path | None]:
        if not await self._has(agent_id):
            yield None
            return
        path = self._folder / f"ssh-{secrets.token_hex(4)}"
        listening = _listen(path)
        metadata = [("buildkit.ssh.id", agent_id)] if agent_id else []
        tasks: set[asyncio.Task[None]] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(tasks) >= MOST_AGENT_CONNECTIONS:
                writer.close()
                return
            task = asyncio.create_task(self._forward(reader, writer, metadata))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_unix_server(accepted, sock=listening)
        try:
            yield path
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.wait_closed()
            path.unlink(missing_ok=True)

    async def _has(self, agent_id: str) -> bool:
        if not self._session.serves(session_messages.CHECK_AGENT):
            return False
        try:
            await self._session.client.unary(
                session_messages.CHECK_AGENT, session_messages.Named(agent_id), messages.Empty
            )
        except CallFailed:
            return False
        return True

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, metadata: list[tuple[str, str]]
    ) -> None:
        """One program's connection to the agent."""
        try:
            async with self._session.client.calling(session_messages.FORWARD_AGENT, metadata) as call:
                there = asyncio.create_task(_send(reader, call))
                try:
                    while (piece := await call.receive(Piece)) is not None:
                        writer.write(piece.data)
                        await writer.drain()
                finally:
                    there.cancel()
                    await asyncio.gather(there, return_exceptions=True)
        except (errors.SampanError, ConnectionError):
            pass  # the program sees its connection end
        finally:
            writer.close()


def _listen(path: Path) -> socket.socket:
    """A Unix socket at a path of any length: the kernel takes 107 bytes, so it is named by its open directory."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")
        path.chmod(0o600)
    except BaseException:
        listening.close()
        raise
    finally:
        os.close(folder)
    return listening


async def _send(reader: asyncio.StreamReader, call: ClientCall) -> None:
    while data := await reader.read(PIECE_BYTES):
        await call.send(Piece(data))
    await call.end()
