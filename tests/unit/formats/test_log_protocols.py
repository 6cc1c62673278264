"""What log daemons are sent."""

import pytest

from sampan.formats import journal, syslogline


def test_an_entry_of_the_journal_comes_back_as_it_was() -> None:
    fields = {"MESSAGE": b"two\nlines", "PRIORITY": b"6", "EMPTY": b"", "BYTES": b"\xff=\n"}
    assert journal.decode(journal.encode(fields)) == fields
    assert journal.encode({"A": b"x"}) == b"A=x\n"
    assert journal.encode({"A": b"x\ny"}) == b"A\n\x03\0\0\0\0\0\0\0x\ny\n"


@pytest.mark.parametrize(
    ("key", "name"),
    [("com.example.tier", "COM_EXAMPLE_TIER"), ("_x", "X"), ("9lives", "LIVES"), ("a-b", "A_B")],
)
def test_labels_become_field_names(key: str, name: str) -> None:
    assert journal.field_name(key) == name


def test_lines_of_syslog() -> None:
    common = {"facility": 16, "severity": 6, "time_ns": 1_500_000_000_123_456_789, "hostname": "pier", "pid": 7}
    assert syslogline.line(b"hello", form="rfc5424", tag="t", **common) == (
        b"<134>1 2017-07-14T02:40:00Z pier t 7 t - hello\n"
    )
    assert syslogline.line(b"hello", form="rfc5424micro", tag="t", **common) == (
        b"<134>1 2017-07-14T02:40:00.123456Z pier t 7 t - hello\n"
    )
    plain = syslogline.line(b"hel\0lo", form="", tag="t", **common)
    assert plain.startswith(b"<134>Jul 14 ")
    assert plain.endswith(b" t[7]: hello\n")
    assert b" pier t[7]: " in syslogline.line(b"x", form="rfc3164", tag="t", **common)


@pytest.mark.parametrize(("text", "number"), [("daemon", 3), ("local7", 23), ("5", 5)])
def test_facilities(text: str, number: int) -> None:
    assert syslogline.facility(text) == number


@pytest.mark.parametrize("text", ["24", "-1", "kitchen", ""])
def test_there_are_24_facilities(text: str) -> None:
    with pytest.raises(ValueError, match=text or None):
        syslogline.facility(text)
