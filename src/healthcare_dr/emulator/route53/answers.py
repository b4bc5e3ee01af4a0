"""Answer DNS messages as an authoritative server of the zones (RFC 1035, section 4; EDNS: RFC 6891).

Among weighted records, the choice follows "How Amazon Route 53 chooses records when health checking is configured".
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from dnslib import (  # type: ignore[import-untyped]
    CLASS,
    EDNS0,
    QTYPE,
    RCODE,
    RDMAP,
    RR,
    DNSHeader,
    DNSLabel,
    DNSQuestion,
    DNSRecord,
)

from healthcare_dr.emulator.route53.model import Record, Snapshot, Zone, endpoint_of, name_of

_UNWEIGHTED = 1


def choose(records: Sequence[Record], healthy: Mapping[str, bool], random: Random) -> Record:
    """One of `records`, which share name and type.

    A record without a check is always healthy, as is one whose check is unknown. Where none is healthy, all are.
    Records of weight 0 are considered only where no other is healthy, and then alike.

    Args:
        records: at least one.
        healthy: verdicts by check id.
    """
    living = [record for record in records if record.check_id is None or healthy.get(record.check_id, True)]
    candidates = living or list(records)
    weighted = [record for record in candidates if record.weight != 0]
    weights = [_UNWEIGHTED if record.weight is None else record.weight for record in weighted]
    return random.choices(weighted, weights)[0] if weighted else random.choice(candidates)


UDP_BYTES = 512
EDNS_BYTES = 1232
TCP_BYTES = 65535
# The id, and the first byte of flags.
LEAST_BYTES = 3
BADVERS = 16
ANY_CLASS = 255
TRANSFERS = frozenset({QTYPE.AXFR, QTYPE.IXFR})

Fill = Callable[[DNSRecord], None]
"""Fills the answer to its one question: the records, and where it is no success, the code."""

logger = logging.getLogger(__name__)


def respond(packet: bytes, *, udp: bool, fill: Fill) -> bytes | None:
    """Return the response to a message; None when it is not a query.

    A message that cannot be parsed is FORMERR, an exception of `fill` is SERVFAIL and logged. Records that are too long
    for the client are omitted, with TC set (RFC 2181, section 9).
    """
    if len(packet) < LEAST_BYTES or packet[2] & 0x80:
        return None
    if packet[2] & 0x78:
        return _packed(_blank(packet, RCODE.NOTIMP))
    try:
        question, edns = _read(packet)
    except Exception:  # noqa: BLE001 - odd bytes make dnslib raise more than its own errors
        return _packed(_blank(packet, RCODE.FORMERR))
    if code := _refusal(question, edns):
        return _packed(_blank(packet, code, question, edns))
    answer = _blank(packet, RCODE.NOERROR, question, edns)
    try:
        fill(answer)
        if question.qclass == ANY_CLASS:
            # Nobody is an authority for every class.
            answer.header.aa = 0
        packed = _packed(answer)
    except Exception as error:  # noqa: BLE001 - dnslib again, and records can hold anything
        logger.warning("DNS has no answer to %s %s: %s", question.qname, QTYPE[question.qtype], error)
        return _packed(_blank(packet, RCODE.SERVFAIL, question, edns))
    if len(packed) > _longest(edns, udp=udp):
        short = _blank(packet, answer.header.rcode, question, edns)
        short.header.aa, short.header.tc = answer.header.aa, 1
        return _packed(short)
    return packed


def _read(packet: bytes) -> tuple[DNSQuestion, RR | None]:
    request = DNSRecord.parse(packet)
    (question,) = request.questions
    # An answer repeats the question: dnslib reads names that are too long for it to write.
    DNSRecord(q=question).pack()
    options = [extra for extra in request.ar if extra.rtype == QTYPE.OPT]
    if len(options) > 1:
        raise ValueError("more than one OPT")
    return question, options[0] if options else None


def _refusal(question: DNSQuestion, edns: RR | None) -> int:
    if edns is not None and edns.edns_ver != 0:
        return BADVERS
    refused: int = RCODE.REFUSED
    served = question.qclass in (CLASS.IN, ANY_CLASS) and question.qtype not in TRANSFERS
    return 0 if served else refused


def _blank(packet: bytes, code: int, question: DNSQuestion | None = None, edns: RR | None = None) -> DNSRecord:
    header = DNSHeader(
        id=int.from_bytes(packet[:2], "big"),
        bitmap=0,
        qr=1,
        opcode=packet[2] >> 3 & 0xF,
        rd=packet[2] & 1,
        rcode=code & 0xF,
    )
    answer = DNSRecord(header)
    if question is not None:
        answer.add_question(question)
    if edns is not None:
        answer.add_ar(EDNS0(udp_len=EDNS_BYTES, ext_rcode=code >> 4, flags="do" if edns.edns_do else ""))
    return answer


def _longest(edns: RR | None, *, udp: bool) -> int:
    if not udp:
        return TCP_BYTES
    return min(max(UDP_BYTES, edns.edns_len), EDNS_BYTES) if edns is not None else UDP_BYTES


def _packed(answer: DNSRecord) -> bytes:
    return bytes(answer.pack())


ENDPOINT_TTL_SECONDS = 60
NEGATIVE_TTL_SECONDS = 60
LONGEST_CHAIN = 8
NAME_SERVER = "ns-1.awsdns-00.com"


class Answers:
    """Answers for the zones of a snapshot and for the host names of the regions' HTTP APIs, and refuses the rest."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        healthy: Callable[[], Mapping[str, bool]],
        edge_addresses: Mapping[str, str],
        time_scale: Callable[[], float],
        random: Random,
    ) -> None:
        """`healthy`: verdicts by check id; `edge_addresses`: the address of each region's endpoints."""
        self._snapshot = snapshot
        self._healthy = healthy
        self._edge_addresses = edge_addresses
        self._time_scale = time_scale
        self._random = random

    def reply(self, packet: bytes, *, udp: bool) -> bytes | None:
        """The answer to a message, or None for what is not a DNS query."""
        return respond(packet, udp=udp, fill=self._fill)

    def _fill(self, answer: DNSRecord) -> None:
        owner, kind = answer.q.qname, QTYPE[answer.q.qtype]
        followed: set[str] = set()
        while owner is not None and len(followed) < LONGEST_CHAIN:
            name = name_of(owner.label)
            if name in followed:
                return
            owner = self._add(answer, owner, name, kind, first=not followed)
            followed.add(name)

    def _add(self, answer: DNSRecord, owner: DNSLabel, name: str, kind: str, *, first: bool) -> DNSLabel | None:
        """Add what is known of `name`, which the client writes as `owner`; the next name where it is an alias."""
        if (endpoint := endpoint_of(name)) and endpoint[1] in self._edge_addresses:
            self._add_endpoint(answer, owner, kind, endpoint[1], first=first)
            return None
        zone = self._zone(name)
        if zone is None:
            if first:
                answer.header.rcode = RCODE.REFUSED
            return None
        records = _all_of(zone)
        if servers := _delegation(records, zone, name, kind):
            self._refer(answer, _upper(owner, servers.name), servers, records)
            return None
        if first:
            answer.header.aa = 1
        own = [record for record in records if record.name == name]
        if kind == "ANY" and own:
            # One of the types is enough (RFC 8482, section 4.1).
            kind = own[0].type
        alias = self._pick(own, "CNAME") if kind != "CNAME" else None
        found = alias or self._pick(own, kind)
        if found is None:
            if not own and not any(record.name.endswith(f".{name}") for record in records):
                answer.header.rcode = RCODE.NXDOMAIN
            soa = next(record for record in records if record.type == "SOA" and record.name == zone.name)
            answer.add_auth(*self._lines(_negative(soa), _upper(owner, zone.name)))
            return None
        lines = self._lines(found, owner)
        answer.add_answer(*lines)
        return lines[0].rdata.label if alias else None

    def _add_endpoint(self, answer: DNSRecord, owner: DNSLabel, kind: str, region: str, *, first: bool) -> None:
        if kind in ("A", "ANY"):
            record = Record(name="", type="A", ttl=ENDPOINT_TTL_SECONDS, values=(self._edge_addresses[region],))
            answer.add_answer(*self._lines(record, owner))
        elif first:
            parent = f"execute-api.{region}.amazonaws.com"
            answer.add_auth(*self._lines(_negative(_soa(parent)), _upper(owner, parent)))

    def _refer(self, answer: DNSRecord, cut: DNSLabel, servers: Record, records: Sequence[Record]) -> None:
        """Name the servers of a part of the zone, with their addresses where they are in it too."""
        lines = self._lines(servers, cut)
        answer.add_auth(*lines)
        for server in (line.rdata.label for line in lines):
            for record in records:
                if record.name == name_of(server.label) and record.type in ("A", "AAAA"):
                    answer.add_ar(*self._lines(record, server))

    def _zone(self, name: str) -> Zone | None:
        fitting = [zone for zone in self._snapshot().zones if _within(name, zone.name)]
        return max(fitting, key=lambda zone: len(zone.name), default=None)

    def _pick(self, own: Sequence[Record], kind: str) -> Record | None:
        found = [record for record in own if record.type == kind]
        return choose(found, self._healthy(), self._random) if found else None

    def _lines(self, record: Record, owner: DNSLabel) -> list[RR]:
        if record.type not in RDMAP:
            raise ValueError(f"records of type {record.type} cannot be written")
        ttl = min(record.ttl, max(1, int(record.ttl / self._time_scale())))
        lines: list[RR] = RR.fromZone("\n".join(f". {ttl} IN {record.type} {value}" for value in record.values))
        for line in lines:
            line.rname = owner
        return lines


def _within(name: str, parent: str) -> bool:
    return name == parent or name.endswith(f".{parent}")


def _upper(owner: DNSLabel, name: str) -> DNSLabel:
    """The end of `owner` that is `name`, in the client's own letters."""
    return DNSLabel(owner.label[-len(name.split(".")) :])


def _delegation(records: Sequence[Record], zone: Zone, name: str, kind: str) -> Record | None:
    """The name servers that the zone leaves `name` to (RFC 1034, section 4.3.2, step 3b)."""
    cuts = [record for record in records if record.type == "NS" and record.name != zone.name]
    # Of the part itself, the zone says who serves it, and how it is signed (RFC 4035, section 3.1.4.1).
    left = [record for record in cuts if _within(name, record.name) and (kind, name) != ("DS", record.name)]
    return min(left, key=lambda record: len(record.name), default=None)


def _negative(soa: Record) -> Record:
    """Return the SOA record with the TTL of a negative answer (RFC 2308, section 5)."""
    return replace(soa, ttl=min(soa.ttl, int(soa.values[0].split()[-1])))


def _soa(name: str) -> Record:
    value = f"{NAME_SERVER}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 {NEGATIVE_TTL_SECONDS}"
    return Record(name=name, type="SOA", ttl=900, values=(value,))


def _all_of(zone: Zone) -> tuple[Record, ...]:
    own = {record.type for record in zone.records if record.name == zone.name}
    servers = Record(name=zone.name, type="NS", ttl=172800, values=(f"{NAME_SERVER}.",))
    missing = [record for record in (_soa(zone.name), servers) if record.type not in own]
    return (*zone.records, *missing)
