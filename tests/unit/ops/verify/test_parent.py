"""A parent's name servers are asked one after the other, over real sockets."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dnslib import NS, QTYPE, RCODE, RR, DNSRecord  # type: ignore[import-untyped]
from dnslib.server import BaseResolver, DNSLogger, DNSServer  # type: ignore[import-untyped]

from healthcare_dr.ops.verify.delegation import first_told

DOMAIN = "healthcare-dr-dev.com"
OURS = ["ns-1.example.", "ns-2.example."]


class Parent(BaseResolver):  # type: ignore[misc]
    """Delegates the domain as a parent does, in the authority section; or answers with a code alone."""

    def __init__(self, *, to: list[str], code: int = RCODE.NOERROR) -> None:
        self._to, self._code = to, code

    def resolve(self, request: DNSRecord, handler: object) -> DNSRecord:
        reply = request.reply()
        reply.header.rcode = self._code
        for host in self._to:
            reply.add_auth(RR(str(request.q.qname), QTYPE.NS, rdata=NS(host), ttl=60))
        return reply


@contextmanager
def serving(parent: Parent) -> Iterator[tuple[str, int]]:
    server = DNSServer(parent, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-error"))
    server.start_thread()
    try:
        yield server.server.server_address
    finally:
        server.stop()
        server.server.server_close()
        server.thread.join()


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """A server that takes questions and answers none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening.getsockname()


@pytest.mark.trap(30)
def test_another_server_answers_for_one_that_does_not(silent: tuple[str, int]) -> None:
    with serving(Parent(to=OURS)) as answering:
        assert first_told(DOMAIN, [silent, silent, answering], timeout=0.2) == OURS


@pytest.mark.parametrize("code", [RCODE.SERVFAIL, RCODE.REFUSED])
def test_and_for_one_that_refuses(code: int) -> None:
    with serving(Parent(to=[], code=code)) as refusing, serving(Parent(to=OURS)) as answering:
        assert first_told(DOMAIN, [refusing, answering]) == OURS
        with pytest.raises(OSError, match=RCODE[code]):
            first_told(DOMAIN, [refusing])


@pytest.mark.parametrize("code", [RCODE.NOERROR, RCODE.NXDOMAIN])
def test_no_delegation_is_an_answer(code: int) -> None:
    with serving(Parent(to=[], code=code)) as knowing, serving(Parent(to=OURS)) as other:
        assert first_told(DOMAIN, [knowing, other]) == []


def test_none_that_answers_is_told(silent: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="timed out"):
        first_told(DOMAIN, [silent, silent], timeout=0.1)
    with pytest.raises(OSError, match="has no name servers"):
        first_told(DOMAIN, [])


def test_all_together_have_a_limit(silent: tuple[str, int]) -> None:
    asked = []

    def servers() -> Iterator[tuple[str, int]]:
        for number in range(100):
            asked.append(number)
            yield silent

    with pytest.raises(OSError, match="timed out"):
        first_told(DOMAIN, servers(), timeout=0.1, limit_seconds=0.35)
    assert len(asked) < 10
