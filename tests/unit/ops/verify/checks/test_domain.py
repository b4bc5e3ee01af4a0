"""Checks of the domain: its delegation and its certificates."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from healthcare_dr.ops.verify.checks import domain
from healthcare_dr.ops.verify.checks.domain import first_delegation, name_servers
from support.dns_server import dns_server
from unit.ops.verify.fakes import NOW, Answers, found, live, problems, refusal

ZONE: Answers = {("route53", "get_hosted_zone"): {"DelegationSet": {"NameServers": ["ns-1.example", "ns-2.example"]}}}
DELEGATED = {"dns_delegated": True}


@pytest.mark.trap(30)
@pytest.mark.parametrize(
    ("servers", "expected"),
    [
        (["NS-2.example.", "ns-1.example."], []),
        ([], ["healthcare-dr-dev.com is not delegated"]),
        (
            ["ns-1.example", "ns-9.example"],
            ["healthcare-dr-dev.com is delegated to ns-1.example, ns-9.example, not to ns-1.example, ns-2.example"],
        ),
    ],
)
def test_domain_is_delegated_to_the_zone(
    monkeypatch: pytest.MonkeyPatch, servers: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(domain, "name_servers", lambda _: servers)
    assert problems("delegation", live(ZONE, settings=DELEGATED)) == expected
    assert found("delegation", live({})) == []


def test_unresponsive_parent_makes_the_delegation_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(_: str) -> list[str]:
        raise OSError("timed out")

    monkeypatch.setattr(domain, "name_servers", time_out)
    (finding,) = found("delegation", live(ZONE, settings=DELEGATED))
    assert (finding.severity, finding.service) == ("unknown", "dns")
    assert "timed out" in finding.problem


def issued(**changed: Any) -> Answers:
    name = "api.healthcare-dr-dev.com"
    said = {"Status": "ISSUED", "DomainName": name, "NotAfter": NOW + timedelta(days=90)} | changed
    return {
        ("apigatewayv2", "get_domain_name"): {"DomainNameConfigurations": [{"CertificateArn": "arn:c"}]},
        ("acm", "describe_certificate"): {"Certificate": said},
    }


@pytest.mark.trap(31)
@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (issued(), None),
        (issued(Status="PENDING_VALIDATION"), "the certificate of api.healthcare-dr-dev.com is PENDING_VALIDATION"),
        (issued(DomainName="a.com"), "the certificate is for a.com, not api.healthcare-dr-dev.com"),
        (issued(NotAfter=datetime.fromisoformat("2026-03-20T00:00:00Z")), "ends on 2026-03-20"),
        (
            {("apigatewayv2", "get_domain_name"): refusal("NotFoundException", 404)},
            "the region does not serve api.healthcare-dr-dev.com",
        ),
    ],
)
def test_region_serves_the_shared_name_with_a_valid_certificate(answers: Answers, expected: str | None) -> None:
    found_problems = problems("certificate", live(answers, settings=DELEGATED))
    assert len(found_problems) == (1 if expected else 0)
    assert all(str(expected) in problem for problem in found_problems)
    assert found("certificate", live({})) == []


DOMAIN = "healthcare-dr-dev.com"


OURS = ["ns-1.example.", "ns-2.example."]


@contextmanager
def serving(*, to: Sequence[str] = (), code: int = dns.rcode.NOERROR) -> Iterator[tuple[str, int]]:
    """Run a server of the parent zone that delegates in the authority section, or responds with a code only."""

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
    """The address of a server that does not respond."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening.getsockname()


@pytest.mark.trap(30)
@pytest.mark.parametrize(("delegated", "expected"), [(OURS, OURS), ([], [])], ids=["delegated", "not delegated"])
def test_delegation_is_read_from_the_zone_of_the_operator(
    monkeypatch: pytest.MonkeyPatch, delegated: list[str], expected: list[str]
) -> None:
    """The zone clinic-one.org delegates dr.east.clinic-one.org; there is no zone east.clinic-one.org."""
    zone, own = "clinic-one.org.", "dr.east.clinic-one.org"
    records = {(zone, "SOA"): "ns.clinic-one.org. x. 1 2 3 4 5", (zone, "NS"): "ns.clinic-one.org."}
    records[f"ns.{zone}", "A"] = "127.0.0.1"

    def respond(query: dns.message.Message, udp: bool) -> dns.message.Message:
        response, (question,) = dns.message.make_response(query), query.question
        response.flags |= dns.flags.RA
        kind = dns.rdatatype.to_text(question.rdtype)
        if value := records.get((str(question.name), kind)):
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, value))
        elif str(question.name) == f"{own}." and delegated:
            response.authority.append(dns.rrset.from_text_list(question.name, 60, "IN", "NS", delegated))
        elif str(question.name) != zone:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response

    with dns_server(respond) as (address, port):
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = [address], port
        monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
        monkeypatch.setattr(domain, "DNS", port)
        assert name_servers(own) == expected


@pytest.mark.trap(30)
def test_next_server_is_queried_after_one_that_does_not_respond(silent: tuple[str, int]) -> None:
    with serving(to=OURS) as answering:
        assert first_delegation(DOMAIN, [silent, silent, answering], timeout=0.2) == OURS


@pytest.mark.parametrize("code", [dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_next_server_is_queried_after_an_error(code: int) -> None:
    with serving(code=code) as refusing, serving(to=OURS) as answering:
        assert first_delegation(DOMAIN, [refusing, answering]) == OURS
        with pytest.raises(OSError, match=dns.rcode.to_text(dns.rcode.Rcode(code))):
            first_delegation(DOMAIN, [refusing])


@pytest.mark.parametrize("code", [dns.rcode.NOERROR, dns.rcode.NXDOMAIN])
def test_missing_delegation_is_a_result(code: int) -> None:
    with serving(code=code) as first, serving(to=OURS) as other:
        assert first_delegation(DOMAIN, [first, other]) == []


def test_no_responding_name_server_is_reported(silent: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="timed out"):
        first_delegation(DOMAIN, [silent, silent], timeout=0.1)
    with pytest.raises(OSError, match="has no name servers"):
        first_delegation(DOMAIN, [])


def test_all_servers_share_a_time_limit(silent: tuple[str, int]) -> None:
    queried = []

    def servers() -> Iterator[tuple[str, int]]:
        for number in range(100):
            queried.append(number)
            yield silent

    with pytest.raises(OSError, match="timed out"):
        first_delegation(DOMAIN, servers(), timeout=0.1, limit_seconds=0.35)
    assert len(queried) < 10
