"""What the keeper and its clients say to each other: JSON messages on a SOCK_SEQPACKET socket, one per packet.

A request is `{"id": number, "do": verb, ...}`; its reply carries the same `id` and either `ok` (an object) or `error`
(`kind`, `what`, `why` and, for a runtime that failed, `exit_code`, `stderr`, `runtime_log`). Descriptors travel beside
a reply (SCM_RIGHTS), in the order the verb documents. An event is `{"event": "exit", ...}` and goes to every client.
Kinds are class names of `sampan.errors`, which the client raises.

| verb | fields | reply |
|---|---|---|
| hello | - | `version`, `pid`, `processes`, `more`: repeated with the same id while `more` is true |
| run | `container`, `argv`, `pid_file`, `log_dir`, and `RUN_DEFAULTS` | `pid`, `started_ns` |
| exec | `container`, `exec`, `argv`, `pid_file`, and `EXEC_DEFAULTS` | as run; stdin if open, stdout, stderr, or pty |
| stdin | `container` | the write end, or the terminal |
| close_stdin | `container` | - |
| resize | `container`, `exec`, `rows`, `cols` | - |
| signal | `container`, `exec`, `signal` | -; while the process is starting, the runtime gets it |
| forget | `container`, `exec` | - (a container takes its execs along) |
| guard | -, and a fanotify group unless one is held | `held`; the group; from now on this client gets `access` events |
| answer | `number`, `errno`: 0, the read goes on, or EIO | - |
| stop | - | -; then the keeper ends; refused while anything runs |

The exit event: `container`, `exec` ("" for the container itself), `pid`, `exit_code` (128 + n after signal n),
`started_ns`, `finished_ns`, `recorded` (whether `exit.json` is on disk), `lost_bytes` (output a full disk swallowed).

The access event goes to the last client that asked for `guard`: `number` for its answer, `first` and `count` of the
bytes somebody waits for, and the file's descriptor, open for writing. Nobody else hears of it; see `guard`.
"""

from __future__ import annotations

import json

VERSION = 1

# How a keeper that does not serve exits.
EXIT_USAGE = 2
EXIT_LOCKED = 3

# Stands in a runtime's argv for the path of the console socket, which the keeper makes when `terminal` is true.
CONSOLE_SOCKET = "{console-socket}"

# A packet must fit the socket's send buffer (net.core.wmem_default, 208 KiB): JSON may stretch a byte to six.
MAX_PACKET_BYTES = 196608
MAX_FAILURE_TEXT_BYTES = 15360
PROCESSES_PER_PACKET = 256
MAX_DESCRIPTORS = 3

_SHARED_DEFAULTS: dict[str, object] = {
    "cwd": "/",
    "runtime_log": "",  # the file given to the runtime's own --log; its tail goes into the reply of a failed launch
    "terminal": False,
    "open_stdin": False,
    "rows": 0,
    "cols": 0,
}
EXEC_DEFAULTS = _SHARED_DEFAULTS
RUN_DEFAULTS: dict[str, object] = {
    **_SHARED_DEFAULTS,
    "stdin_once": False,  # the first `stdin` request takes the keeper's own end: EOF follows when the taker closes it
    "record": True,  # write exit.json; False where the exit ends the container's life anyway (`run --rm`)
    "log": {},  # kind "file" or "none", max_size_bytes, max_files
}


class Refused(Exception):
    """A request that cannot be done; `kind` names the class of `sampan.errors` the client raises."""

    def __init__(self, kind: str, what: str, why: str = "", **more: object) -> None:
        super().__init__(kind, what, why)
        self.kind = kind
        self.what = what
        self.why = why
        self.more = more

    def message(self) -> dict[str, object]:
        """The `error` part of the reply."""
        return {"kind": self.kind, "what": self.what, "why": self.why, **self.more}


class Request:
    """The fields of a request, checked for type as they are read."""

    def __init__(self, fields: dict[str, object]) -> None:
        self.fields = fields
        self.number = -1
        self.verb = ""

    @classmethod
    def decode(cls, packet: bytes) -> Request:
        """Raises: Refused for what is not a JSON object."""
        try:
            fields = json.loads(packet)
        except (ValueError, RecursionError) as error:
            raise Refused("Invalid", "the request is not JSON", str(error)) from error
        if not isinstance(fields, dict):
            raise Refused("Invalid", "the request is not an object")
        return cls(fields)

    def identify(self) -> None:
        """Read `id` and `do`; apart from the constructor so that an error can carry the id that was read."""
        self.number = self.integer("id")
        self.verb = self.text("do")

    def with_defaults(self, defaults: dict[str, object]) -> None:
        """Fill in the fields that were left out."""
        self.fields = {**defaults, **self.fields}

    def text(self, name: str, default: str | None = None) -> str:
        """A string. Raises: Refused."""
        value = self.fields.get(name, default)
        if not isinstance(value, str) or "\0" in value:
            raise self._bad(name, "a string without NUL")
        return value

    def integer(self, name: str) -> int:
        """A whole number. Raises: Refused."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._bad(name, "a whole number")
        return value

    def flag(self, name: str) -> bool:
        """True or false. Raises: Refused."""
        value = self.fields.get(name)
        if not isinstance(value, bool):
            raise self._bad(name, "true or false")
        return value

    def words(self, name: str) -> list[str]:
        """A list of strings with at least one. Raises: Refused."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not value:
            raise self._bad(name, "a list of strings")
        words = [word for word in value if isinstance(word, str) and "\0" not in word]
        if len(words) != len(value):
            raise self._bad(name, "a list of strings")
        return words

    def mapping(self, name: str) -> dict[str, object]:
        """An object. Raises: Refused."""
        value = self.fields.get(name)
        if not isinstance(value, dict):
            raise self._bad(name, "an object")
        return value

    def size(self, name: str) -> tuple[int, int]:
        """`rows` and `cols` of a terminal. Raises: Refused."""
        rows, cols = self.integer("rows"), self.integer("cols")
        if not (0 <= rows <= 65535 and 0 <= cols <= 65535):
            raise self._bad(name, "rows and cols from 0 to 65535")
        return rows, cols

    def _bad(self, name: str, wanted: str) -> Refused:
        return Refused("Invalid", f"{name} must be {wanted}", f"it is {self.fields.get(name)!r:.100}")


def encode(message: dict[str, object]) -> bytes:
    """One packet."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
