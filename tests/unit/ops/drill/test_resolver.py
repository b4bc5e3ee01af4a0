"""How clients of a drill find their region: a real DNS server on loopback, and caches on a clock of the test."""

import asyncio
from collections.abc import Iterator

import pytest
from dnslib import QTYPE, RCODE, RR  # type: ignore[import-untyped]
from dnslib.server import BaseResolver, DNSLogger, DNSServer  # type: ignore[import-untyped]

from healthcare_dr.ops.drill.load.resolver import Answer, CachingResolver, DnsResolver, ResolutionError

NAME = "api.healthcare-dr-it.com"
EAST = "aaaa.execute-api.us-east-1.amazonaws.com"
WEST = "bbbb.execute-api.us-west-2.amazonaws.com"


class Zone(BaseResolver):  # type: ignore[misc,unused-ignore]
    """Answers with what `records` says of a name; SERVFAIL where it says nothing."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self.truncated = False

    def resolve(self, request, handler):  # type: ignore[no-untyped-def]
        reply = request.reply()
        found = self.records.get(str(request.q.qname).rstrip("."))
        if found is None:
            reply.header.rcode = RCODE.SERVFAIL
        elif self.truncated and handler.protocol == "udp":
            reply.header.tc = 1
        else:
            reply.add_answer(*RR.fromZone(found))
        assert request.q.qtype == QTYPE.A
        return reply


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def server(zone: Zone) -> Iterator[tuple[str, int]]:
    """The zone over UDP and TCP on one port."""
    quiet = DNSLogger(log="-request,-reply,-truncated,-error", prefix=False)
    tcp = DNSServer(zone, address="127.0.0.1", port=0, tcp=True, logger=quiet)
    port = tcp.server.server_address[1]
    udp = DNSServer(zone, address="127.0.0.1", port=port, logger=quiet)
    for each in (tcp, udp):
        each.start_thread()
    yield "127.0.0.1", port
    for each in (tcp, udp):
        each.stop()
        each.server.server_close()
        each.thread.join()


def ask(server: tuple[str, int]) -> Answer:
    return asyncio.run(DnsResolver(server=server, port=8443).resolve(NAME))


def test_chain_and_address_in_one_answer_live_as_long_as_the_shorter(zone: Zone, server: tuple[str, int]) -> None:
    zone.records[NAME] = f"{NAME}. 10 CNAME {EAST}.\n{EAST}. 4 A 127.0.0.2"
    assert ask(server) == Answer(EAST, "127.0.0.2", 8443, 4.0)


def test_address_that_is_not_in_the_answer_is_asked_for(zone: Zone, server: tuple[str, int]) -> None:
    zone.records = {NAME: f"{NAME}. 10 CNAME {WEST}.", WEST: f"{WEST}. 60 A 127.0.0.3"}
    assert ask(server) == Answer(WEST, "127.0.0.3", 8443, 10.0)


def test_truncated_answer_is_asked_for_over_tcp(zone: Zone, server: tuple[str, int]) -> None:
    zone.records[NAME], zone.truncated = f"{NAME}. 10 A 127.0.0.2", True
    assert ask(server).address == "127.0.0.2"


def test_refusal_and_a_circle_are_failures(zone: Zone, server: tuple[str, int]) -> None:
    with pytest.raises(ResolutionError, match="SERVFAIL"):
        ask(server)
    zone.records[NAME] = f"{NAME}. 10 CNAME {NAME}."
    with pytest.raises(ResolutionError, match="no address"):
        ask(server)


class Script:
    """Answers in their order; None is a failure."""

    def __init__(self, *answers: Answer | None) -> None:
        self.answers = list(answers)

    async def resolve(self, name: str) -> Answer:
        answer = self.answers.pop(0)
        if answer is None:
            raise ResolutionError("nobody answers")
        return answer


ONE, OTHER = Answer(EAST, "127.0.0.2", 443, 10.0), Answer(WEST, "127.0.0.3", 443, 10.0)


@pytest.mark.requirement("R4.2")
def test_answer_is_kept_for_its_ttl_and_never_longer() -> None:
    now = [0.0]
    cache = CachingResolver(resolver=Script(ONE, None, OTHER), clock=lambda: now[0])
    assert asyncio.run(cache.resolve(NAME)) == ONE
    now[0] = 9.9
    assert asyncio.run(cache.resolve(NAME)) == ONE
    now[0] = 10.0
    with pytest.raises(ResolutionError):
        asyncio.run(cache.resolve(NAME))
    assert asyncio.run(cache.resolve(NAME)) == OTHER


@pytest.mark.trap(28)
def test_client_that_ignores_ttl_keeps_its_first_answer() -> None:
    now = [0.0]
    cache = CachingResolver(resolver=Script(ONE, OTHER), clock=lambda: now[0], ignore_ttl=True)
    assert asyncio.run(cache.resolve(NAME)) == ONE
    now[0] = 86_400.0
    assert asyncio.run(cache.resolve(NAME)) == ONE
