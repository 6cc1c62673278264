"""What the name server answers from what it knows, and what it must ask others. Pure: messages in, messages out.

Source: RFC 1035, RFC 2308 (empty answers), RFC 8482 is not needed: no question of ours is large.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from sampan.networks.directory import Lookup, Reverse

# Seconds. Short: a container that is made again has another address, and programs that cache names keep it this long.
TTL_S: Final = 10


def read(wire: bytes) -> dns.message.Message | None:
    """A query with one question, or None for anything that deserves no answer."""
    try:
        query = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    if query.flags & dns.flags.QR or len(query.question) != 1:
        return None
    return query


def answer(query: dns.message.Message, *, lookup: Lookup, reverse: Reverse, turn: int) -> dns.message.Message | None:
    """The answer from what is known here; None if others must be asked. `turn` rotates several addresses."""
    question = query.question[0]
    if question.rdclass != dns.rdataclass.IN:
        return None
    if question.rdtype == dns.rdatatype.PTR:
        return _pointer(query, question.name, reverse)
    addresses = lookup(question.name.to_text(omit_final_dot=True))
    if not addresses:
        return None
    response = _response(query)
    if question.rdtype in (dns.rdatatype.A, dns.rdatatype.ANY):
        start = turn % len(addresses)
        ordered = addresses[start:] + addresses[:start]
        response.answer.append(dns.rrset.from_text(question.name, TTL_S, "IN", "A", *map(str, ordered)))
    return response  # for AAAA and the rest: the name exists, there is none of that kind


def failure(query: dns.message.Message) -> dns.message.Message:
    """SERVFAIL: nobody could be asked, or nobody answered."""
    response = _response(query)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response


def _pointer(query: dns.message.Message, name: dns.name.Name, reverse: Reverse) -> dns.message.Message | None:
    try:
        address = IPv4Address(dns.reversename.to_address(name))
    except (dns.exception.DNSException, ValueError):
        return None  # not the reverse name of an IPv4 address
    known = reverse(address)
    if not known:
        return None
    response = _response(query)
    response.answer.append(dns.rrset.from_text(name, TTL_S, "IN", "PTR", f"{known}."))
    return response


def _response(query: dns.message.Message) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.RA
    return response
