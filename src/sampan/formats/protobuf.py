"""Protocol Buffers on the wire: messages declared as dataclasses, written and read within bounds. Pure.

    @dataclass
    class Stat(protobuf.Message):
        path: str = protobuf.text(1)
        size: int = protobuf.number(5)

Only what proto3 messages of BuildKit need: varints, length-delimited fields, repeated ones and maps. Fields that a
message does not declare are skipped, as the format wants; of a field that comes twice the last one counts, except for
messages, which are merged. A default value is not written. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from sampan import errors

LARGEST_MESSAGE_BYTES = 64 << 20
DEEPEST = 32  # messages inside messages
MOST_ENTRIES = 1 << 20  # of one repeated field
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1
M = TypeVar("M", bound="Message")


class InvalidMessage(errors.Invalid):
    """Bytes that are no message of the expected type."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a field's value stands on the wire. `read` gets an int for varints, else bytes, and the depth left."""

    wire: int
    default: Callable[[], Any]
    write: Callable[[Any], bytes]
    read: Callable[[Any, int], Any]
    merge: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field. `repeated` values are lists, or dicts if `pairs`."""

    number: int
    kind: Kind
    repeated: bool = False
    pairs: bool = False


class Message:
    """Base of all messages: `encode`, `decode`. Subclasses are dataclasses whose fields come from this module."""

    FIELDS: ClassVar[Mapping[str, Field]] = {}
    NUMBERS: ClassVar[Mapping[int, tuple[str, Field]]] = {}

    def encode(self) -> bytes:
        """The message as it travels."""
        out = bytearray()
        for name, declared in _fields(type(self)).items():
            _write(out, declared, getattr(self, name))
        return bytes(out)

    @classmethod
    def decode(cls: type[M], content: bytes, *, depth: int = DEEPEST) -> M:
        """Raises `InvalidMessage`."""
        if len(content) > LARGEST_MESSAGE_BYTES:
            raise InvalidMessage("a protobuf message is too long", why=f"{len(content)} bytes")
        if depth <= 0:
            raise InvalidMessage("protobuf messages are nested too deeply")
        message = cls()
        _fields(cls)
        known = cls.NUMBERS
        for number, wire, value in _parts(content):
            found = known.get(number)
            if found is not None and found[1].kind.wire == wire:
                _put(message, *found, value, depth - 1)
        return message


def _fields(kind: type[Message]) -> Mapping[str, Field]:
    """The declared fields of a message type, found once."""
    if "FIELDS" not in vars(kind):
        declared = {each.name: each.metadata["wire"] for each in dataclasses.fields(kind)}  # type: ignore[arg-type]
        kind.FIELDS = declared
        kind.NUMBERS = {each.number: (name, each) for name, each in declared.items()}
    return kind.FIELDS


# --- declaring --------------------------------------------------------------------------------------------------------


def _declare(number: int, kind: Kind, *, repeated: bool = False, pairs: bool = False) -> Any:
    factory: Callable[[], Any] = dict if pairs else list if repeated else kind.default
    return dataclasses.field(default_factory=factory, metadata={"wire": Field(number, kind, repeated, pairs)})


def text(number: int) -> str:
    """A string. Bytes that are not UTF-8 are refused, as proto3 does."""
    return _declare(number, TEXT)  # type: ignore[no-any-return]


def data(number: int) -> bytes:
    """Bytes."""
    return _declare(number, DATA)  # type: ignore[no-any-return]


def number(number: int) -> int:
    """int32, int64 or an enumeration."""
    return _declare(number, SIGNED)  # type: ignore[no-any-return]


def unsigned(number: int) -> int:
    """uint32 or uint64."""
    return _declare(number, UNSIGNED)  # type: ignore[no-any-return]


def switch(number: int) -> bool:
    """bool."""
    return _declare(number, SWITCH)  # type: ignore[no-any-return]


def message(number: int, kind: type[M]) -> M | None:
    """Another message, None if it is not there."""
    return _declare(number, _nested(kind))  # type: ignore[no-any-return]


def texts(number: int) -> list[str]:
    """Repeated strings."""
    return _declare(number, TEXT, repeated=True)  # type: ignore[no-any-return]


def datas(number: int) -> list[bytes]:
    """Repeated bytes."""
    return _declare(number, DATA, repeated=True)  # type: ignore[no-any-return]


def messages(number: int, kind: type[M]) -> list[M]:
    """Repeated messages."""
    return _declare(number, _nested(kind), repeated=True)  # type: ignore[no-any-return]


def text_map(number: int) -> dict[str, str]:
    """map<string, string>."""
    return _declare(number, _pair(TEXT), pairs=True)  # type: ignore[no-any-return]


def data_map(number: int) -> dict[str, bytes]:
    """map<string, bytes>."""
    return _declare(number, _pair(DATA), pairs=True)  # type: ignore[no-any-return]


def message_map(number: int, kind: type[M]) -> dict[str, M]:
    """map<string, message>."""
    return _declare(number, _pair(_nested(kind)), pairs=True)  # type: ignore[no-any-return]


# --- values -----------------------------------------------------------------------------------------------------------


def _read_text(value: bytes, depth: int) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise InvalidMessage("a protobuf string is not UTF-8") from error


def _signed(value: int, depth: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _nested(kind: type[Message]) -> Kind:
    return Kind(
        _BYTES,
        lambda: None,
        lambda value: value.encode(),
        lambda value, depth: kind.decode(value, depth=depth),
        merge=True,
    )


def _pair(value: Kind) -> Kind:
    """An entry of a map: a message of key (1) and value (2)."""

    def write(entry: tuple[str, Any]) -> bytes:
        out = bytearray()
        _write_one(out, 1, TEXT, entry[0])
        _write_one(out, 2, value, entry[1])
        return bytes(out)

    def read(content: bytes, depth: int) -> tuple[str, Any]:
        if depth <= 0:
            raise InvalidMessage("protobuf messages are nested too deeply")
        key, found = "", value.default() if not value.merge else value.read(b"", depth)
        for number, wire, part in _parts(content):
            if number == 1 and wire == _BYTES:
                key = _read_text(part, depth)  # type: ignore[arg-type]
            elif number == 2 and wire == value.wire:
                found = value.read(part, depth - 1)
        return key, found

    return Kind(_BYTES, dict, write, read)


TEXT = Kind(_BYTES, str, lambda value: value.encode("utf-8", "replace"), _read_text)
DATA = Kind(_BYTES, bytes, bytes, lambda value, depth: value)
SIGNED = Kind(_VARINT, int, lambda value: _varint(value & _MASK), _signed)
UNSIGNED = Kind(_VARINT, int, lambda value: _varint(value & _MASK), lambda value, depth: value)
SWITCH = Kind(_VARINT, bool, lambda value: b"\x01" if value else b"\x00", lambda value, depth: bool(value))


# --- the wire ---------------------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _write(out: bytearray, declared: Field, value: Any) -> None:
    if declared.pairs:
        for entry in value.items():
            _write_one(out, declared.number, declared.kind, entry)
    elif declared.repeated:
        for entry in value:
            _write_one(out, declared.number, declared.kind, entry)
    elif value is not None and value != declared.kind.default():
        _write_one(out, declared.number, declared.kind, value)


def _write_one(out: bytearray, number: int, kind: Kind, value: Any) -> None:
    out += _varint(number << 3 | kind.wire)
    content = kind.write(value)
    if kind.wire == _BYTES:
        out += _varint(len(content))
    out += content


def _put(message: Message, name: str, declared: Field, value: int | bytes, depth: int) -> None:
    read = declared.kind.read(value, depth)
    if declared.pairs:
        held: dict[str, Any] = getattr(message, name)
        held[read[0]] = read[1]
        count = len(held)
    elif declared.repeated:
        entries: list[Any] = getattr(message, name)
        entries.append(read)
        count = len(entries)
    else:
        before = getattr(message, name)
        setattr(message, name, _merged(before, read) if declared.kind.merge and before is not None else read)
        return
    if count > MOST_ENTRIES:
        raise InvalidMessage("a repeated protobuf field has too many entries")


def _merged(before: Message, after: Message) -> Message:
    """Of two occurrences of one embedded message: later scalars win, repeated fields add up."""
    for name, declared in _fields(type(before)).items():
        old, new = getattr(before, name), getattr(after, name)
        if declared.pairs:
            setattr(before, name, {**old, **new})
        elif declared.repeated:
            setattr(before, name, old + new)
        elif declared.kind.merge and old is not None and new is not None:
            setattr(before, name, _merged(old, new))
        elif new is not None and new != declared.kind.default():
            setattr(before, name, new)
    return before


def _parts(content: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and raw value of every field."""
    at, end = 0, len(content)
    while at < end:
        key, at = _read_varint(content, at, end)
        number, wire = key >> 3, key & 7
        if not 0 < number < 1 << 29:
            raise InvalidMessage("a protobuf field has an impossible number", why=str(number))
        if wire == _VARINT:
            value, at = _read_varint(content, at, end)
            yield number, wire, value
        elif wire in (_BYTES, _FIXED64, _FIXED32):
            length, at = _read_varint(content, at, end) if wire == _BYTES else (8 if wire == _FIXED64 else 4, at)
            if length > end - at:
                raise InvalidMessage("a protobuf message ends early")
            yield number, wire, content[at : at + length]
            at += length
        else:
            raise InvalidMessage("a protobuf field has an unknown wire type", why=str(wire))


def _read_varint(content: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
        if shift > 63:
            raise InvalidMessage("a protobuf number is too long")
    raise InvalidMessage("a protobuf message ends early")
