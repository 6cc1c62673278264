"""Sessions: connections over which the client serves and the daemon calls, found by the identifier the client chose.

A solve may name a session a moment before it connects, so looking one up waits. A session ends with its connection; one
whose client no longer answers is ended. Their number is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from sampan import errors
from sampan.api.engine.buildkit import messages, session_messages
from sampan.api.grpc import h2, status
from sampan.api.grpc.client import Client

MOST_SESSIONS = 256
LONGEST_ID = 200
MOST_METHODS = 200
WAIT_S = 10.0
HEALTH_EVERY_S = 15.0
HEALTH_LIMIT_S = 30.0


class SessionRefused(errors.Conflict):
    """A second session by the same name, or too many of them."""


class SessionInvalid(errors.Invalid):
    """A session without an identifier that can be used."""


class SessionUnknown(errors.NotFound):
    """A solve names a session that nobody opened."""


@dataclass(eq=False, slots=True)
class Session:
    """One client. `methods` are the paths it serves, in lower case."""

    id: str
    name: str
    shared_key: str
    methods: frozenset[str]
    client: Client

    def serves(self, path: str) -> bool:
        """Whether the client said that it answers this method."""
        return path.lower() in self.methods


@dataclass(slots=True)
class Sessions:
    """All sessions of the daemon."""

    _held: dict[str, Session] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self, headers: Mapping[str, str]) -> str:
        """The identifier of a session that may begin. Raises: SessionRefused, SessionInvalid."""
        session_id = headers.get("X-Docker-Expose-Session-Uuid", "")
        if not session_id or len(session_id) > LONGEST_ID or not session_id.isprintable():
            raise SessionInvalid("a session needs an identifier", remedy="send X-Docker-Expose-Session-Uuid")
        if session_id in self._held:
            raise SessionRefused(f"session {session_id} already exists")
        if len(self._held) >= MOST_SESSIONS:
            raise SessionRefused(f"there are {MOST_SESSIONS} build sessions already", remedy="wait for builds to end")
        return session_id

    async def serve(self, wire: h2.Wire, session_id: str, name: str, shared_key: str, methods: list[str]) -> None:
        """Hold a session until its connection ends."""
        connection = h2.Connection(wire, client=True)
        served = frozenset(method.lower() for method in methods[:MOST_METHODS])
        session = Session(session_id, name, shared_key, served, Client(connection))
        if session_id in self._held:
            connection.abort()
            return
        self._held[session_id] = session
        self._changed.set()
        watch = asyncio.create_task(_watch(session, connection))
        try:
            await connection.run()
        finally:
            watch.cancel()
            del self._held[session_id]

    async def get(self, session_id: str) -> Session:
        """Waits a moment for a session that is on its way. Raises: SessionUnknown."""
        session_id = session_id.rpartition(":")[2]
        try:
            async with asyncio.timeout(WAIT_S):
                while (session := self._held.get(session_id)) is None:
                    self._changed.clear()
                    await self._changed.wait()
                return session
        except TimeoutError as error:
            raise SessionUnknown(f"no active session for {session_id[:LONGEST_ID]}") from error


async def _watch(session: Session, connection: h2.Connection) -> None:
    """End a session whose client's machine has gone without a word."""
    while session.serves(session_messages.HEALTH):
        await asyncio.sleep(HEALTH_EVERY_S)
        try:
            await session.client.unary(
                session_messages.HEALTH, messages.Empty(), session_messages.Health, limit_s=HEALTH_LIMIT_S
            )
        except status.CallFailed as failure:
            if failure.code is status.Code.DEADLINE_EXCEEDED:
                connection.abort()
                return
        except (h2.ConnectionEnded, h2.ExchangeReset):
            return
