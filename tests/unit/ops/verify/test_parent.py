"""A parent's name servers are asked one after the other, over real sockets."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import dns.message
import dns.rcode
import dns.rrset
import pytest

from healthcare_dr.ops.verify.delegation import first_delegation
from support.dns_server import dns_server

DOMAIN = "healthcare-dr-dev.com"
OURS = ["ns-1.example.", "ns-2.example."]


@contextmanager
def serving(*, to: Sequence[str] = (), code: int = dns.rcode.NOERROR) -> Iterator[tuple[str, int]]:
    """A server of the parent zone: delegates in the authority section, or responds with a code alone."""

    def respond(query: dns.message.Message, udp: bool) -> dns.message.Message:
        response = dns.message.make_response(query)
        response.set_rcode(dns.rcode.Rcode(code))
        if to:
            response.authority.append(dns.rrset.from_text_list(query.question[0].name, 60, "IN", "NS", to))
        return response

    with dns_server(respond) as address:
        yield address


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """A server that takes questions and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening.getsockname()


@pytest.mark.trap(30)
def test_another_server_answers_for_one_that_does_not(silent: tuple[str, int]) -> None:
    with serving(to=OURS) as answering:
        assert first_delegation(DOMAIN, [silent, silent, answering], timeout=0.2) == OURS


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_and_for_one_that_refuses(code: int) -> None:
    with serving(code=code) as refusing, serving(to=OURS) as answering:
        assert first_delegation(DOMAIN, [refusing, answering]) == OURS
        with pytest.raises(OSError, match=dns.rcode.to_text(dns.rcode.Rcode(code))):
            first_delegation(DOMAIN, [refusing])


@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
def test_no_delegation_is_an_answer(code: int) -> None:
    with serving(code=code) as knowing, serving(to=OURS) as other:
        assert first_delegation(DOMAIN, [knowing, other]) == []


def test_no_responding_name_server_is_reported(silent: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="timed out"):
        first_delegation(DOMAIN, [silent, silent], timeout=0.1)
    with pytest.raises(OSError, match="has no name servers"):
        first_delegation(DOMAIN, [])


def test_all_together_have_a_limit(silent: tuple[str, int]) -> None:
    asked = []

    def servers() -> Iterator[tuple[str, int]]:
        for number in range(100):
            asked.append(number)
            yield silent

    with pytest.raises(OSError, match="timed out"):
        first_delegation(DOMAIN, servers(), timeout=0.1, limit_seconds=0.35)
    assert len(asked) < 10
