"""The codec against the protobuf package, against itself, and against strangers' bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from sampan.formats import protobuf


@dataclass
class Inner(protobuf.Message):
    name: str = protobuf.text(1)
    count: int = protobuf.number(2)


@dataclass
class Outer(protobuf.Message):
    name: str = protobuf.text(1)
    blob: bytes = protobuf.data(2)
    signed: int = protobuf.number(3)
    positive: int = protobuf.unsigned(4)
    on: bool = protobuf.switch(5)
    inner: Inner | None = protobuf.message(6, Inner)
    names: list[str] = protobuf.texts(7)
    blobs: list[bytes] = protobuf.datas(8)
    inners: list[Inner] = protobuf.messages(9, Inner)
    labels: dict[str, str] = protobuf.text_map(10)
    metadata: dict[str, bytes] = protobuf.data_map(11)
    parts: dict[str, Inner] = protobuf.message_map(12, Inner)


@dataclass
class Nothing(protobuf.Message):
    """Knows no field."""


@dataclass
class Nested(protobuf.Message):
    inner: Inner | None = protobuf.message(1, Inner)


def second_opinion() -> Any:
    """`Outer`, as the protobuf package knows it."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="t.proto", package="t", syntax="proto3")
    inner = file.message_type.add(name="Inner")
    inner.field.add(name="name", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    inner.field.add(name="count", number=2, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    outer = file.message_type.add(name="Outer")
    plain = [
        ("name", kinds.TYPE_STRING),
        ("blob", kinds.TYPE_BYTES),
        ("signed", kinds.TYPE_INT64),
        ("positive", kinds.TYPE_UINT64),
        ("on", kinds.TYPE_BOOL),
    ]
    for number, (name, kind) in enumerate(plain, 1):
        outer.field.add(name=name, number=number, type=kind, label=kinds.LABEL_OPTIONAL)
    outer.field.add(name="inner", number=6, type=kinds.TYPE_MESSAGE, type_name=".t.Inner", label=kinds.LABEL_OPTIONAL)
    outer.field.add(name="names", number=7, type=kinds.TYPE_STRING, label=kinds.LABEL_REPEATED)
    outer.field.add(name="blobs", number=8, type=kinds.TYPE_BYTES, label=kinds.LABEL_REPEATED)
    outer.field.add(name="inners", number=9, type=kinds.TYPE_MESSAGE, type_name=".t.Inner", label=kinds.LABEL_REPEATED)
    for number, name, kind in ((10, "labels", "STRING"), (11, "metadata", "BYTES"), (12, "parts", "MESSAGE")):
        entry = outer.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
        value = entry.field.add(name="value", number=2, type=getattr(kinds, f"TYPE_{kind}"), label=kinds.LABEL_OPTIONAL)
        if kind == "MESSAGE":
            value.type_name = ".t.Inner"
        outer.field.add(
            name=name,
            number=number,
            type=kinds.TYPE_MESSAGE,
            type_name=f".t.Outer.{name.title()}Entry",
            label=kinds.LABEL_REPEATED,
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Outer"))


THEIRS = second_opinion()
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INNERS = st.builds(Inner, WORDS, st.integers(-(1 << 63), (1 << 63) - 1))
OUTERS = st.builds(
    Outer,
    WORDS,
    st.binary(max_size=40),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(0, (1 << 64) - 1),
    st.booleans(),
    st.none() | INNERS,
    st.lists(WORDS, max_size=3),
    st.lists(st.binary(max_size=9), max_size=3),
    st.lists(INNERS, max_size=3),
    st.dictionaries(WORDS, WORDS, max_size=3),
    st.dictionaries(WORDS, st.binary(max_size=9), max_size=3),
    st.dictionaries(WORDS, INNERS, max_size=3),
)


def same(ours: Outer, theirs: Any) -> None:
    for name in ("name", "blob", "signed", "positive", "on"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert (ours.inner is not None) == theirs.HasField("inner")
    if ours.inner is not None:
        assert (ours.inner.name, ours.inner.count) == (theirs.inner.name, theirs.inner.count)
    assert ours.names == list(theirs.names)
    assert ours.blobs == list(theirs.blobs)
    assert [(one.name, one.count) for one in ours.inners] == [(one.name, one.count) for one in theirs.inners]
    assert ours.labels == dict(theirs.labels)
    assert ours.metadata == dict(theirs.metadata)
    assert {key: (one.name, one.count) for key, one in ours.parts.items()} == {
        key: (one.name, one.count) for key, one in theirs.parts.items()
    }


@given(OUTERS)
def test_the_protobuf_package_reads_what_we_write_and_we_what_it_writes(ours: Outer) -> None:
    theirs = THEIRS()
    theirs.ParseFromString(ours.encode())
    same(ours, theirs)
    assert Outer.decode(theirs.SerializeToString()) == ours


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_clear_refusal(content: bytes) -> None:
    theirs = THEIRS()
    try:
        read = Outer.decode(content)
    except protobuf.InvalidMessage:
        return
    theirs.ParseFromString(content)  # whatever we take, the protobuf package takes too
    same(read, theirs)


@given(OUTERS)
def test_a_message_that_knows_no_field_skips_them_all(message: Outer) -> None:
    assert Nothing.decode(message.encode()) == Nothing()


@given(OUTERS, st.data())
def test_a_message_cut_anywhere_is_refused_or_still_a_message(message: Outer, data: st.DataObject) -> None:
    whole = message.encode()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    try:
        Outer.decode(cut)
    except protobuf.InvalidMessage:
        pass


def test_an_embedded_message_that_comes_twice_is_merged() -> None:
    content = Nested(Inner("a", 0)).encode() + Nested(Inner("", 7)).encode()
    assert Nested.decode(content) == Nested(Inner("a", 7))


@pytest.mark.parametrize(
    "content",
    [
        b"\x0a\x05abc",  # longer than what follows
        b"\x0a",  # no length
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of eleven bytes
        b"\x03",  # the group types, long gone
        b"\x04",
        b"\x00\x01",  # field number 0
        b"\x0a\x02\xff\xfe",  # not UTF-8
        b"\x18" + b"\xff" * 10,  # a number that never ends
    ],
)
def test_bytes_that_are_no_message_are_refused(content: bytes) -> None:
    with pytest.raises(protobuf.InvalidMessage):
        Outer.decode(content)


def test_messages_nested_too_deeply_are_refused() -> None:
    @dataclass
    class Level(protobuf.Message):
        below: Inner | None = None

    Level.FIELDS = {"below": protobuf.Field(1, protobuf._nested(Level))}  # a type that holds itself
    Level.NUMBERS = {1: ("below", Level.FIELDS["below"])}
    content = b""
    for _ in range(protobuf.DEEPEST + 5):
        content = b"\x0a" + protobuf._varint(len(content)) + content
    with pytest.raises(protobuf.InvalidMessage, match="nested"):
        Level.decode(content)
