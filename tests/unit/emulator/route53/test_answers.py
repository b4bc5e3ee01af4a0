"""Tests of DNS answers: names, aliases, delegations and TTLs; size, EDNS, classes and malformed queries."""

import struct
from collections.abc import Iterator
from random import Random

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.emulator.route53.answers import Answers
from healthcare_dr.emulator.route53.model import CheckConfig, Record, Snapshot, Zone, plain_name
from unit.emulator.route53.planes import EDGE_ADDRESSES, serving

ZONE = "clinic.example"
# Unicode's lower case of it is the letter k.
KELVIN = "\N{KELVIN SIGN}"
SOA = "ns.example. hostmaster.example. 1 7200 900 1209600"


def record(name: str, kind: str, *values: str, ttl: int = 100) -> Record:
    return Record(name=name, type=kind, ttl=ttl, values=values)


def snapshot(*records: Record) -> Snapshot:
    zone = Zone(id="Z1", name=ZONE, records=records)
    return Snapshot(zones=(zone,), checks={"a": CheckConfig(id="a", type="CALCULATED")})


def answers(*records: Record, scale: float = 1.0) -> Answers:
    return Answers(
        snapshot=lambda: snapshot(*records),
        healthy=dict,
        edge_addresses=EDGE_ADDRESSES,
        time_scale=lambda: scale,
        random=Random(4),  # noqa: S311 - a fixed sequence
    )


def resolve(served: Answers, name: str | dns.name.Name, kind: str = "A") -> dns.message.Message:
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
    assert lines(resolve(served, f"{name}.{ZONE}").authority) == [f"{ZONE}. {expected} IN SOA {SOA} {minimum}"]
    assert resolve(served, ZONE, "SOA").answer[0].ttl == ttl / 10


def test_endpoint_has_a_negative_ttl_of_a_minute() -> None:
    endpoint = "abc.execute-api.us-east-1.amazonaws.com"
    (authority,) = resolve(answers(scale=10), endpoint, "AAAA").authority
    assert (authority.name.to_text(), authority.ttl) == (endpoint.removeprefix("abc.") + ".", 6)


@pytest.mark.parametrize(("ttl", "expected"), [(10, 1), (2, 1), (1, 1), (0, 0)])
def test_scaled_ttl_is_at_least_one_second_unless_zero(ttl: int, expected: int) -> None:
    served = answers(record(f"a.{ZONE}", "A", "192.0.2.1", ttl=ttl), scale=10)
    assert resolve(served, f"a.{ZONE}").answer[0].ttl == expected


def test_names_match_case_insensitively_in_ascii_and_keep_the_query_case() -> None:
    served = answers(record(f"kk.{ZONE}", "A", "192.0.2.1"))
    assert lines(resolve(served, "kK.Clinic.exAMPLE").answer) == ["kK.Clinic.exAMPLE. 100 IN A 192.0.2.1"]
    assert resolve(served, below(b"k" + KELVIN.encode())).rcode() == dns.rcode.NXDOMAIN


def test_plain_name_lowers_only_ascii() -> None:
    assert plain_name(f"{KELVIN}.Clinic.Example.") == f"{KELVIN}.{ZONE}"


@pytest.mark.parametrize("odd", [b"a.b", b"a b", b"*", b"a\\b", b"a\x00b", b"\x088", "é".encode()])
def test_label_with_special_characters_is_one_label(odd: bytes) -> None:
    served = answers(record(f"b.{ZONE}", "A", "192.0.2.1"), record(f"a.b.{ZONE}", "A", "192.0.2.1"))
    assert resolve(served, below(odd)).rcode() == dns.rcode.NXDOMAIN
    escaped = "".join(chr(byte) if chr(byte) in "ab8" else f"\\{byte:03o}" for byte in odd)
    found = resolve(answers(record(f"{escaped}.{ZONE}", "A", "192.0.2.1")), below(odd))
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
    found = resolve(answers(*DELEGATED), f"{name}.{ZONE}", kind)
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
    found = resolve(answers(*DELEGATED), f"to.{ZONE}")
    assert found.flags & dns.flags.AA
    assert lines(found.answer) == [f"to.{ZONE}. 100 IN CNAME x.lab.{ZONE}."]
    assert found.authority[0].name.to_text() == f"lab.{ZONE}."


@pytest.mark.parametrize(("name", "kind"), [("lab", "DS"), ("lab2", "A"), ("", "A")])
def test_zone_answers_names_that_are_not_delegated(name: str, kind: str) -> None:
    found = resolve(answers(*DELEGATED), f"{name}.{ZONE}".removeprefix("."), kind)
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
    assert lines(resolve(served, f"a.{ZONE}", "ANY").answer) == [f"a.{ZONE}. 100 IN A 192.0.2.1"]
    assert lines(resolve(served, f"b.{ZONE}", "ANY").answer) == [f"b.{ZONE}. 100 IN CNAME a.{ZONE}."]
    assert lines(resolve(served, "abc.execute-api.us-east-1.amazonaws.com", "ANY").answer)


def texts(name: str, count: int) -> Record:
    """Return `count` values of some 100 bytes."""
    return record(f"{name}.{ZONE}", "TXT", *(f'"{number:087}"' for number in range(count)))


RECORDS = (
    texts("short", 4),
    texts("long", 9),
    texts("longer", 20),
    record(f"old.{ZONE}", "SPF", '"v=spf1 -all"'),
    record(f"broken.{ZONE}", "A", "192.0.2"),
)
ANSWERS = answers(*RECORDS)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(snapshot(*RECORDS)) as (port, _):
        yield port


def question(name: str = "short", kind: str = "TXT", **options: object) -> dns.message.QueryMessage:
    return dns.message.make_query(f"{name}.{ZONE}", kind, **options)  # type: ignore[arg-type] # a JSON value or a fake


def reply(packet: bytes) -> dns.message.Message:
    answer = ANSWERS.reply(packet, udp=True)
    assert answer is not None
    return dns.message.from_wire(answer)


@pytest.mark.parametrize(
    ("name", "payload", "fits"),
    [
        ("short", None, True),
        ("long", None, False),
        ("short", 100, True),  # less than 512 is 512
        ("long", 512, False),
        ("long", 1232, True),
        ("long", 65535, True),
        ("longer", 65535, False),  # more than the server sends
    ],
)
def test_response_size_is_limited_by_both_sides(port: int, name: str, payload: int | None, fits: bool) -> None:
    query = question(name, use_edns=payload is not None and 0, payload=payload or 0)
    answer = dns.query.udp(query, "127.0.0.1", port=port, timeout=5)
    assert bool(answer.answer) is fits
    assert bool(answer.flags & dns.flags.TC) is not fits
    assert answer.question == query.question
    assert answer.flags & dns.flags.AA
    assert answer.payload == (1232 if payload is not None else 0)


@pytest.mark.parametrize("edns", [0, False])
def test_response_too_long_for_udp_is_sent_over_tcp(port: int, edns: int | bool) -> None:
    query = question("longer", use_edns=edns)
    answer, used_tcp = dns.query.udp_with_fallback(query, "127.0.0.1", port=port, timeout=5)
    assert used_tcp
    assert len(answer.answer[0]) == 20
    assert not answer.flags & dns.flags.TC


def test_response_to_query_without_edns_has_none() -> None:
    answer = reply(question().to_wire())
    assert answer.edns == -1
    assert answer.answer


def test_do_bit_is_copied_and_ad_is_not_set() -> None:
    answer = reply(question(want_dnssec=True, flags=dns.flags.RD | dns.flags.AD | dns.flags.TC).to_wire())
    assert answer.ednsflags & dns.flags.DO
    assert answer.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD


@pytest.mark.parametrize("version", [1, 255])
def test_other_edns_version_returns_badvers(version: int) -> None:
    answer = reply(question(use_edns=version).to_wire())
    assert answer.rcode() == dns.rcode.BADVERS
    assert (answer.edns, answer.answer) == (0, [])


def test_second_opt_record_returns_formerr() -> None:
    packet = bytearray(question(use_edns=0).to_wire())
    packet += packet[-11:]
    packet[11] = 2
    assert reply(bytes(packet)).rcode() == dns.rcode.FORMERR


@pytest.mark.parametrize(("kind", "rdclass"), [("TXT", "CH"), ("TXT", "NONE"), ("AXFR", "IN"), ("IXFR", "IN")])
def test_other_classes_and_transfers_are_refused(kind: str, rdclass: str) -> None:
    answer = reply(question(kind=kind, rdclass=rdclass).to_wire())
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.answer


def test_class_any_is_answered_without_aa() -> None:
    answer = reply(question(rdclass=dns.rdataclass.ANY).to_wire())
    assert answer.answer[0].rdclass == dns.rdataclass.IN
    assert not answer.flags & dns.flags.AA


def test_other_opcode_returns_notimp() -> None:
    query = question()
    query.set_opcode(dns.opcode.NOTIFY)
    answer = reply(query.to_wire())
    assert (answer.id, answer.opcode(), answer.rcode()) == (query.id, dns.opcode.NOTIFY, dns.rcode.NOTIMP)


def test_responses_are_ignored() -> None:
    assert ANSWERS.reply(dns.message.make_response(question()).to_wire(), udp=True) is None
    assert ANSWERS.reply(b"\x00\x01", udp=True) is None


def query_of(name: bytes) -> bytes:
    return struct.pack("!6H", 77, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1)


def pointing(times: int) -> bytes:
    """Return a message whose last name is a chain of compression pointers in the data of another record."""
    targets = [12, *range(28, 28 + 2 * times, 2)]
    pointers = [struct.pack("!H", 0xC000 | target) for target in targets]
    packet = bytearray(query_of(b"\x00"))
    packet[11] = 2
    packet += b"\x00" + struct.pack("!HHIH", 65280, 1, 0, 2 * times) + b"".join(pointers[:-1])
    return bytes(packet + pointers[-1] + struct.pack("!HHIH", 65280, 1, 0, 1) + b"x")


@pytest.mark.parametrize(
    "packet",
    [
        b"\x00\x4d\x01",
        query_of(b"")[:12],
        query_of(b"\x07clinic"),
        query_of(b"\x40" + b"a" * 64 + b"\x00"),
        query_of((b"\x3f" + b"a" * 63) * 5 + b"\x00"),
        query_of(b"\xc0\x0c"),
        query_of(b"").replace(b"\x00\x01\x00\x00", b"\x00\x02\x00\x00", 1),
        pointing(4000),
    ],
    ids=["torn", "empty", "short", "long label", "long name", "loop", "two questions", "many pointers"],
)
def test_malformed_message_returns_formerr(packet: bytes) -> None:
    answer = reply(packet)
    assert (answer.id, answer.rcode(), answer.question) == (77, dns.rcode.FORMERR, [])


def test_label_of_any_bytes_is_a_name() -> None:
    answer = reply(query_of(b"\x01\xff\x06clinic\x07example\x00"))
    assert (answer.id, answer.rcode()) == (77, dns.rcode.NXDOMAIN)


@given(st.data())
def test_any_packet_gets_a_response(data: st.DataObject) -> None:
    whole = question(data.draw(st.sampled_from(["short", "old", "broken", "no"])), use_edns=0).to_wire()
    odd = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)
    packet = bytearray(whole)
    for place, value in data.draw(odd):
        packet[place] = value
    packet = packet[: data.draw(st.integers(0, len(packet)))] + data.draw(st.binary(max_size=20))
    answer = ANSWERS.reply(bytes(packet), udp=True)
    query = len(packet) > 2 and packet[2] < 128
    assert (answer[:2] if answer else None) == (packet[:2] if query else None)
    assert answer is None or len(answer) <= 1232


def test_record_that_cannot_be_written_returns_servfail_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    answer = reply(question("broken", "A", use_edns=0).to_wire())
    assert answer.rcode() == dns.rcode.SERVFAIL
    assert answer.question[0].name == dns.name.from_text(f"broken.{ZONE}")
    assert (answer.answer, answer.edns) == ([], 0)
    assert f"DNS has no answer to broken.{ZONE}. A: " in caplog.text
    assert reply(question("short").to_wire()).answer


def test_records_of_a_deprecated_type_are_answered() -> None:
    assert reply(question("old", "SPF").to_wire()).answer
