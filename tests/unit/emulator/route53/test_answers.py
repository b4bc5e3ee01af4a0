"""Tests of DNS answers from the records of a zone: names, aliases, delegations and TTLs."""

from random import Random

import dns.flags
import dns.message
import dns.name
import dns.rcode
import pytest

from healthcare_dr.emulator.route53.answers import Answers
from healthcare_dr.emulator.route53.model import Record, Snapshot, Zone, plain_name
from unit.emulator.route53.planes import EDGE_ADDRESSES

ZONE = "clinic.example"
# Unicode's lower case of it is the letter k.
KELVIN = "\N{KELVIN SIGN}"
SOA = "ns.example. hostmaster.example. 1 7200 900 1209600"


def record(name: str, kind: str, *values: str, ttl: int = 100) -> Record:
    return Record(name=name, type=kind, ttl=ttl, values=values)


def answers(*records: Record, scale: float = 1.0) -> Answers:
    return Answers(
        snapshot=lambda: Snapshot(zones=(Zone(id="Z1", name=ZONE, records=records),)),
        healthy=dict,
        edge_addresses=EDGE_ADDRESSES,
        time_scale=lambda: scale,
        random=Random(4),  # noqa: S311 - a patched sequence
    )


def ask(served: Answers, name: str | dns.name.Name, kind: str = "A") -> dns.message.Message:
    answer = served.reply(dns.message.make_query(name, kind).to_wire(), udp=True)
    assert answer is not None
    return dns.message.from_wire(answer)


def below(*labels: bytes) -> dns.name.Name:
    return dns.name.Name([*labels, b"clinic", b"example", b""])


def lines(section: list[dns.rrset.RRset]) -> list[str]:
    return [line for found in section for line in found.to_text().split("\n")]


@pytest.mark.parametrize(("ttl", "minimum", "expected"), [(900, 86400, 90), (900, 60, 6), (30, 60, 3), (900, 0, 0)])
@pytest.mark.parametrize("name", ["nothing", "here"])
def test_negative_ttl_is_the_lesser_of_soa_ttl_and_minimum(ttl: int, minimum: int, expected: int, name: str) -> None:
    served = answers(
        record(ZONE, "SOA", f"{SOA} {minimum}", ttl=ttl), record(f"here.{ZONE}", "TXT", '"here"'), scale=10
    )
    assert lines(ask(served, f"{name}.{ZONE}").authority) == [f"{ZONE}. {expected} IN SOA {SOA} {minimum}"]
    assert ask(served, ZONE, "SOA").answer[0].ttl == ttl / 10


def test_endpoint_has_a_negative_ttl_of_a_minute() -> None:
    endpoint = "abc.execute-api.us-east-1.amazonaws.com"
    (authority,) = ask(answers(scale=10), endpoint, "AAAA").authority
    assert (authority.name.to_text(), authority.ttl) == (endpoint.removeprefix("abc.") + ".", 6)


@pytest.mark.parametrize(("ttl", "expected"), [(10, 1), (2, 1), (1, 1), (0, 0)])
def test_scaled_ttl_is_at_least_one_second_unless_zero(ttl: int, expected: int) -> None:
    served = answers(record(f"a.{ZONE}", "A", "192.0.2.1", ttl=ttl), scale=10)
    assert ask(served, f"a.{ZONE}").answer[0].ttl == expected


def test_names_match_case_insensitively_in_ascii_and_keep_the_query_case() -> None:
    served = answers(record(f"kk.{ZONE}", "A", "192.0.2.1"))
    assert lines(ask(served, "kK.Clinic.exAMPLE").answer) == ["kK.Clinic.exAMPLE. 100 IN A 192.0.2.1"]
    assert ask(served, below(b"k" + KELVIN.encode())).rcode() == dns.rcode.NXDOMAIN


def test_plain_name_lowers_only_ascii() -> None:
    assert plain_name(f"{KELVIN}.Clinic.Example.") == f"{KELVIN}.{ZONE}"


@pytest.mark.parametrize("odd", [b"a.b", b"a b", b"*", b"a\\b", b"a\x00b", b"\x088", "é".encode()])
def test_label_with_special_characters_is_one_label(odd: bytes) -> None:
    served = answers(record(f"b.{ZONE}", "A", "192.0.2.1"), record(f"a.b.{ZONE}", "A", "192.0.2.1"))
    assert ask(served, below(odd)).rcode() == dns.rcode.NXDOMAIN
    escaped = "".join(chr(byte) if chr(byte) in "ab8" else f"\\{byte:03o}" for byte in odd)
    found = ask(answers(record(f"{escaped}.{ZONE}", "A", "192.0.2.1")), below(odd))
    assert found.answer[0].name == below(odd)


DELEGATED = (
    record(f"lab.{ZONE}", "NS", f"ns1.lab.{ZONE}.", f"ns2.{ZONE}.", "ns3.elsewhere."),
    record(f"ns1.lab.{ZONE}", "A", "192.0.2.1"),
    record(f"ns2.{ZONE}", "AAAA", "2001:db8::1"),
    record(f"to.{ZONE}", "CNAME", f"x.lab.{ZONE}."),
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("lab", "A"), ("lab", "NS"), ("a.b.lab", "A"), ("a.lab", "DS"), ("ns1.lab", "A")],
)
def test_delegated_name_gets_a_referral(name: str, kind: str) -> None:
    found = ask(answers(*DELEGATED), f"{name}.{ZONE}", kind)
    assert (found.rcode(), found.answer) == (dns.rcode.NOERROR, [])
    assert not found.flags & dns.flags.AA
    assert lines(found.authority) == [
        f"lab.{ZONE}. 100 IN NS {server}" for server in (f"ns1.lab.{ZONE}.", f"ns2.{ZONE}.", "ns3.elsewhere.")
    ]
    assert lines(found.additional) == [
        f"ns1.lab.{ZONE}. 100 IN A 192.0.2.1",
        f"ns2.{ZONE}. 100 IN AAAA 2001:db8::1",
    ]


def test_cname_into_a_delegation_ends_with_a_referral() -> None:
    found = ask(answers(*DELEGATED), f"to.{ZONE}")
    assert found.flags & dns.flags.AA
    assert lines(found.answer) == [f"to.{ZONE}. 100 IN CNAME x.lab.{ZONE}."]
    assert found.authority[0].name.to_text() == f"lab.{ZONE}."


@pytest.mark.parametrize(("name", "kind"), [("lab", "DS"), ("lab2", "A"), ("", "A")])
def test_zone_answers_names_that_are_not_delegated(name: str, kind: str) -> None:
    found = ask(answers(*DELEGATED), f"{name}.{ZONE}".removeprefix("."), kind)
    assert found.flags & dns.flags.AA
    assert " IN SOA " in found.authority[0].to_text()


def test_cname_loop_ends() -> None:
    served = answers(record(f"a.{ZONE}", "CNAME", f"b.{ZONE}."), record(f"b.{ZONE}", "CNAME", f"A.{ZONE}."))
    answer = served.reply(dns.message.make_query(f"a.{ZONE}", "A").to_wire(), udp=True)
    assert answer is not None
    assert int.from_bytes(answer[6:8], "big") == 2
    assert lines(dns.message.from_wire(answer).answer) == [
        f"a.{ZONE}. 100 IN CNAME b.{ZONE}.",
        f"b.{ZONE}. 100 IN CNAME A.{ZONE}.",
    ]


def test_any_query_returns_one_type() -> None:
    served = answers(record(f"a.{ZONE}", "A", "192.0.2.1"), record(f"b.{ZONE}", "CNAME", f"a.{ZONE}."))
    assert lines(ask(served, f"a.{ZONE}", "ANY").answer) == [f"a.{ZONE}. 100 IN A 192.0.2.1"]
    assert lines(ask(served, f"b.{ZONE}", "ANY").answer) == [f"b.{ZONE}. 100 IN CNAME a.{ZONE}."]
    assert lines(ask(served, "abc.execute-api.us-east-1.amazonaws.com", "ANY").answer)
