"""Name resolution of the drill's clients, against a DNS server on loopback."""

import asyncio
from collections.abc import Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.zonefile
import pytest

from healthcare_dr.ops.drill.load.resolver import Answer, CachingResolver, DnsResolver, ResolutionError
from support.dns_server import dns_server

NAME = "api.healthcare-dr-it.com"
EAST = "aaaa.execute-api.us-east-1.amazonaws.com"
WEST = "bbbb.execute-api.us-west-2.amazonaws.com"


class Zone:
    """Responds with the `records` of a name, in the format of a zone file; SERVFAIL when there are none."""

    def __init__(self) -> None:
        self.records: dict[str, str] = {}
        self.truncated = False

    def respond(self, query: dns.message.Message, udp: bool) -> dns.message.Message:
        (question,) = query.question
        assert question.rdtype == dns.rdatatype.A
        response = dns.message.make_response(query)
        found = self.records.get(question.name.to_text(omit_final_dot=True))
        if found is None:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif self.truncated and udp:
            response.flags |= dns.flags.TC
        else:
            response.answer.extend(dns.zonefile.read_rrsets(found, rdclass=None))
        return response


@pytest.fixture
def zone() -> Zone:
    return Zone()


@pytest.fixture
def server(zone: Zone) -> Iterator[tuple[str, int]]:
    with dns_server(zone.respond) as address:
        yield address


def resolve(server: tuple[str, int]) -> Answer:
    return asyncio.run(DnsResolver(server=server, port=8443).resolve(NAME))


def test_answer_has_the_shortest_ttl_of_its_chain(zone: Zone, server: tuple[str, int]) -> None:
    zone.records[NAME] = f"{NAME}. 10 CNAME {EAST}.\n{EAST}. 4 A 127.0.0.2"
    assert resolve(server) == Answer(EAST, "127.0.0.2", 8443, 4.0)


def test_missing_address_is_queried(zone: Zone, server: tuple[str, int]) -> None:
    zone.records = {NAME: f"{NAME}. 10 CNAME {WEST}.", WEST: f"{WEST}. 60 A 127.0.0.3"}
    assert resolve(server) == Answer(WEST, "127.0.0.3", 8443, 10.0)


def test_truncated_answer_is_queried_over_tcp(zone: Zone, server: tuple[str, int]) -> None:
    zone.records[NAME], zone.truncated = f"{NAME}. 10 A 127.0.0.2", True
    assert resolve(server).address == "127.0.0.2"


def test_error_and_circular_cname_are_failures(zone: Zone, server: tuple[str, int]) -> None:
    with pytest.raises(ResolutionError, match="SERVFAIL"):
        resolve(server)
    zone.records[NAME] = f"{NAME}. 10 CNAME {NAME}."
    with pytest.raises(ResolutionError, match="no address"):
        resolve(server)


class AnswersInOrder:
    """Returns answers in their order; None is a failure."""

    def __init__(self, *answers: Answer | None) -> None:
        self.answers = list(answers)

    async def resolve(self, name: str) -> Answer:
        answer = self.answers.pop(0)
        if answer is None:
            raise ResolutionError("no response")
        return answer


ONE, OTHER = Answer(EAST, "127.0.0.2", 443, 10.0), Answer(WEST, "127.0.0.3", 443, 10.0)


@pytest.mark.requirement("R4.2")
def test_answer_is_cached_for_its_ttl() -> None:
    now = [0.0]
    cache = CachingResolver(resolver=AnswersInOrder(ONE, None, OTHER), clock=lambda: now[0])
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
    cache = CachingResolver(resolver=AnswersInOrder(ONE, OTHER), clock=lambda: now[0], ignore_ttl=True)
    assert asyncio.run(cache.resolve(NAME)) == ONE
    now[0] = 86_400.0
    assert asyncio.run(cache.resolve(NAME)) == ONE
