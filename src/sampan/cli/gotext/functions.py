"""The functions of templates, and how values look in text. Pure.

Source: Go's text/template and fmt documentation; the extra functions that Docker's documentation of `--format` lists.
"""

from __future__ import annotations

import json
import re

from sampan.cli.gotext.parse import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class _Nil:
    """A pointer to nothing: shown as Go shows it, false, `null` in JSON."""

    def __bool__(self) -> bool:
        return False


NIL = _Nil()
MISSING = "<no value>"
# What Go's types make of a JSON null: no pointer, an empty map, else an empty list.
_POINTERS = frozenset(
    ("Healthcheck", "Health", "Init", "OomKillDisable", "PidsLimit", "MemorySwappiness", "IPAMConfig", "UsageData")
)
_MAPS = frozenset(
    (
        *("Labels", "Volumes", "ExposedPorts", "PortBindings", "Ports", "Networks", "Options", "Sysctls", "Tmpfs"),
        *("StorageOpt", "Annotations", "DriverOpts"),
    )
)
# Objects that are structures in Go, by their first member: shown as their values in this order.
_STRUCTURES = (
    ("HostIp", "HostPort"),
    ("Name", "MaximumRetryCount"),
    ("Type", "Config"),
    ("Type", "Name", "Source", "Destination", "Driver", "Mode", "RW", "Propagation"),
    ("Type", "Source", "Destination", "Mode", "RW", "Propagation"),
)


def empty_of(name: str) -> Any:
    """What a member that is null is."""
    return NIL if name in _POINTERS else {} if name in _MAPS else []


def is_pointer(name: str) -> bool:
    """Whether a member may be absent because it points to nothing."""
    return name in _POINTERS


def is_true(value: Any) -> bool:
    """Go's truth: not zero, not empty."""
    return bool(value)


def show(value: Any) -> str:
    """As Go prints a value."""
    if value is None:
        return MISSING
    if value is NIL:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        shape = next((names for names in _STRUCTURES if tuple(value) == names), None)
        if shape is not None:
            return f"{{{' '.join(_inner(value[name], name) for name in shape)}}}"
        return f"map[{' '.join(f'{key}:{_inner(item, key)}' for key, item in sorted(value.items()))}]"
    if isinstance(value, list | tuple):
        return f"[{' '.join(_inner(item, '') for item in value)}]"
    if isinstance(value, float):
        return _general(value)
    return str(value)


def _inner(value: Any, name: str) -> str:
    if value is None:
        return show(empty_of(name) if name in _MAPS or name in _POINTERS else []) if name else "<nil>"
    return show(value)


def _general(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)


def to_json(value: Any) -> str:
    """Compact, in the order of its members."""
    hidden = getattr(value, "hidden", ())
    if hidden:
        value = {key: item for key, item in value.items() if key not in hidden}
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=lambda _: None)
    return escaped(text) if getattr(value, "type_name", "") else text


def escaped(text: str) -> str:
    """JSON as Go writes it where it may stand in HTML."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "" if all(isinstance(item, str) for item in value.values()) else None)
        elif value is None:
            raise TemplateError("index of untyped nil")
        elif isinstance(value, list | tuple | str):
            if not 0 <= key < len(value):
                raise TemplateError(f"index out of range: {key}")
            value = value[key]
        else:
            raise TemplateError(f"can't index item of type {type(value).__name__}")
    return value


def _slice(value: Any, *ends: int) -> Any:
    for end in ends:
        if not 0 <= end <= len(value):
            raise TemplateError(f"index out of range: {end}")
    return value[slice(*ends)] if len(ends) > 1 else value[ends[0] :] if ends else value


def _pad(text: str, before: int, after: int) -> str:
    return text if not text else " " * before + text + " " * after


def _printf(pattern: str, *values: Any) -> str:
    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, verb = match[1], match[2]
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        match verb:
            case "d":
                return f"%{flags}d" % int(value)
            case "x" | "X":
                return f"%{flags}{verb}" % value if isinstance(value, int) else str(value).encode().hex()
            case "f" | "e" | "g":
                return f"%{flags}{verb}" % float(value)
            case "q":
                return json.dumps(show(value), ensure_ascii=False)
            case "c":
                return chr(int(value))
            case "T":
                return {str: "string", bool: "bool", int: "int", float: "float64"}.get(type(value), "interface {}")
        return f"%{flags.replace('0', '', 1) if flags[:1] == '0' else flags}s" % show(value)

    return re.sub(r"%([-+# 0]*[0-9]*(?:\.[0-9]+)?)([a-zA-Z%])", one, pattern)


def _comparison(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(first: Any, second: Any) -> bool:
        if isinstance(first, str) != isinstance(second, str):
            raise TemplateError("incompatible types for comparison")
        return test(first, second)

    return compare


def _equal(first: Any, *others: Any) -> bool:
    for other in others:
        if isinstance(first, str) != isinstance(other, str) and None not in (first, other):
            raise TemplateError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _length(value: Any) -> int:
    if value is None or isinstance(value, int | float):
        raise TemplateError(f"len of type {type(value).__name__}")
    return len(value.encode()) if isinstance(value, str) else len(value)


def _html(*values: Any) -> str:
    text = "".join(show(value) for value in values)
    for raw, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        text = text.replace(raw, written)
    return text


def _urlquery(*values: Any) -> str:
    from sampan.cli import wire

    return wire.quote("".join(show(value) for value in values), b" ").replace(" ", "+")


def _println(*values: Any) -> str:
    return " ".join(show(value) for value in values) + "\n"


def _print(*values: Any) -> str:
    """Spaces between values where neither is a text."""
    found = ""
    for number, value in enumerate(values):
        apart = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        found += (" " if apart else "") + show(value)
    return found


TABLE: dict[str, Callable[..., Any]] = {
    "and": lambda *values: next((value for value in values if not is_true(value)), values[-1]),
    "or": lambda *values: next((value for value in values if is_true(value)), values[-1]),
    "not": lambda value: not is_true(value),
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "println": _println,
    "printf": _printf,
    "html": _html,
    "js": lambda *values: json.dumps("".join(show(value) for value in values))[1:-1],
    "urlquery": _urlquery,
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _comparison(lambda first, second: first < second),
    "le": _comparison(lambda first, second: first <= second),
    "gt": _comparison(lambda first, second: first > second),
    "ge": _comparison(lambda first, second: first >= second),
    "json": to_json,
    "split": lambda text, separator: text.split(separator) if separator else list(text),
    "join": lambda items, separator: separator.join(show(item) for item in items or []),
    "title": lambda text: re.sub(r"(^|[\s])(\w)", lambda match: match[1] + match[2].upper(), text),
    "lower": lambda text: text.lower(),
    "upper": lambda text: text.upper(),
    "pad": _pad,
    "truncate": lambda text, length: text[:length],
}
