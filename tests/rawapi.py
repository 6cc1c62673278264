"""The engine's socket without any client's manners."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from typing import Any

import harbour

LIMIT_S = 30
JSON = {"Content-Type": "application/json"}


class Api:
    """One request a connection, whatever it holds."""

    def __init__(self, home: harbour.Harbour) -> None:
        self.home = home

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        connection = http.client.HTTPConnection("localhost", timeout=LIMIT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(LIMIT_S)
        connection.sock.connect(str(self.home.socket))
        try:
            connection.request(method, path, body, dict(JSON if body is not None else {}) | dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, path: str, value: Any) -> tuple[int, bytes]:
        """JSON."""
        return self.ask("POST", path, json.dumps(value).encode())

    def state(self) -> dict[str, Any]:
        """All that there is, without what the clock changes."""
        seen: dict[str, Any] = {}
        for path in ("/containers/json?all=1", "/images/json", "/networks", "/volumes"):
            status, text = self.ask("GET", path)
            assert status == 200, text
            seen[path] = json.loads(text)
        for container in seen["/containers/json?all=1"]:
            del container["Status"]
        return seen
