from __future__ import annotations

from ipaddress import IPv4Address

import dns.flags
import dns.message
import dns.rcode
import pytest

from sampan.networks import answers

TWO = (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"))


def lookup(name: str) -> tuple[IPv4Address, ...]:
    return TWO if name.lower() == "web" else ()


def reverse(address: IPv4Address) -> str:
    return "web.app" if address == TWO[0] else ""


def ask(name: str, kind: str = "A", turn: int = 0) -> dns.message.Message | None:
    query = answers.read(dns.message.make_query(name, kind).to_wire())
    assert query is not None
    return answers.answer(query, lookup=lookup, reverse=reverse, turn=turn)


def items(response: dns.message.Message | None) -> list[str]:
    assert response is not None
    assert response.flags & dns.flags.RA
    assert response.rcode() == dns.rcode.NOERROR
    return [item.to_text() for rrset in response.answer for item in rrset]


def test_several_addresses_take_turns() -> None:
    assert items(ask("web")) == ["10.0.0.2", "10.0.0.3"]
    assert items(ask("WEB.", turn=1)) == ["10.0.0.3", "10.0.0.2"]


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "SRV"])
def test_a_known_name_has_an_empty_answer_for_other_kinds(kind: str) -> None:
    assert items(ask("web", kind)) == []


def test_a_known_address_has_its_name() -> None:
    assert items(ask("2.0.0.10.in-addr.arpa", "PTR")) == ["web.app."]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("far.test", "A"),
        ("9.0.0.10.in-addr.arpa", "PTR"),
        ("x.in-addr.arpa", "PTR"),
        ("far.test", "PTR"),
        ("web.far", "A"),
    ],
)
def test_others_are_asked_about_the_rest(name: str, kind: str) -> None:
    assert ask(name, kind) is None


@pytest.mark.parametrize("wire", [b"", b"x" * 11, b"\0" * 12, bytes(200)])
def test_what_is_no_question_gets_no_answer(wire: bytes) -> None:
    assert answers.read(wire) is None


def test_an_answer_is_no_question() -> None:
    assert answers.read(dns.message.make_response(dns.message.make_query("web", "A")).to_wire()) is None


def test_a_failure_says_so() -> None:
    assert answers.failure(dns.message.make_query("web", "A")).rcode() == dns.rcode.SERVFAIL
