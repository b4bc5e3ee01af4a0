"""Answer DNS queries as an authoritative server of the hosted zones (RFC 1035, section 4; EDNS: RFC 6891)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.renderer
import dns.rrset

from healthcare_dr.emulator.route53.model import Record, Snapshot, Zone, endpoint_of, name_of

UDP_BYTES = 512
EDNS_BYTES = 1232
TCP_BYTES = 65535
# The id, and the first byte of flags.
LEAST_BYTES = 3
SERVED_CLASSES = frozenset({dns.rdataclass.IN, dns.rdataclass.ANY})
TRANSFERS = frozenset({dns.rdatatype.AXFR, dns.rdatatype.IXFR})

ENDPOINT_TTL_SECONDS = 60
NEGATIVE_TTL_SECONDS = 60
LONGEST_CHAIN = 8
NAME_SERVER = "ns-1.awsdns-00.com"

logger = logging.getLogger(__name__)


class Answers:
    """Answers queries for the zones of a snapshot and for the host names of the regions' HTTP APIs; refuses others.

    Args:
        snapshot: returns the present zones.
        healthy: returns the health of each check by id.
        edge_addresses: the address of each region's endpoints.
        time_scale: returns the factor by which TTLs are divided.
    """

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        healthy: Callable[[], Mapping[str, bool]],
        edge_addresses: Mapping[str, str],
        time_scale: Callable[[], float],
        random: Random,
    ) -> None:
        self._snapshot = snapshot
        self._healthy = healthy
        self._edge_addresses = edge_addresses
        self._time_scale = time_scale
        self._random = random

    def reply(self, packet: bytes, *, udp: bool) -> bytes | None:
        """Return the response to a message; None for a message that is not a query.

        The response code is FORMERR for a message that cannot be parsed, and SERVFAIL for records that cannot be
        written, which is logged. A response that is too long for the client has no records, and TC is set (RFC 2181,
        section 9).
        """
        if len(packet) < LEAST_BYTES or packet[2] & 0x80:
            return None
        if packet[2] & 0x78:
            return _to_wire(_response(packet, dns.rcode.NOTIMP))
        try:
            query = dns.message.from_wire(packet, ignore_trailing=True)
            (question,) = query.question
        except Exception:  # noqa: BLE001 - hostile bytes must not end the server
            return _to_wire(_response(packet, dns.rcode.FORMERR))
        if code := _refusal(query, question):
            return _to_wire(_response(packet, code, query))
        response = _response(packet, dns.rcode.NOERROR, query)
        try:
            self._fill(response, question)
            if question.rdclass == dns.rdataclass.ANY:
                # No server is authoritative for every class.
                response.flags &= ~dns.flags.AA
            return _to_wire(response, longest=_longest(query, udp=udp))
        except dns.exception.TooBig:
            truncated = _response(packet, response.rcode(), query)
            truncated.flags |= response.flags & dns.flags.AA | dns.flags.TC
            return _to_wire(truncated)
        except Exception as error:  # noqa: BLE001 - records can contain anything
            kind = dns.rdatatype.to_text(question.rdtype)
            logger.warning("DNS has no answer to %s %s: %s", question.name, kind, error)
            return _to_wire(_response(packet, dns.rcode.SERVFAIL, query))

    def _fill(self, response: dns.message.Message, question: dns.rrset.RRset) -> None:
        owner: dns.name.Name | None = question.name
        kind, followed = dns.rdatatype.to_text(question.rdtype), set[str]()
        while owner is not None and len(followed) < LONGEST_CHAIN:
            name = name_of(owner.labels[:-1])
            if name in followed:
                return
            owner = self._add(response, owner, name, kind, first=not followed)
            followed.add(name)

    def _add(
        self, response: dns.message.Message, owner: dns.name.Name, name: str, kind: str, *, first: bool
    ) -> dns.name.Name | None:
        """Add the records of `name`, which the client writes as `owner`; return the target of a CNAME."""
        if (endpoint := endpoint_of(name)) and endpoint[1] in self._edge_addresses:
            self._add_endpoint(response, owner, kind, endpoint[1], first=first)
            return None
        zone = self._zone(name)
        if zone is None:
            if first:
                response.set_rcode(dns.rcode.REFUSED)
            return None
        records = _all_of(zone)
        if servers := _delegation(records, zone, name, kind):
            self._refer(response, _suffix(owner, servers.name), servers, records)
            return None
        if first:
            response.flags |= dns.flags.AA
        own = [record for record in records if record.name == name]
        if kind == "ANY" and own:
            # One of the types is enough (RFC 8482, section 4.1).
            kind = own[0].type
        alias = self._pick(own, "CNAME") if kind != "CNAME" else None
        found = alias or self._pick(own, kind)
        if found is None:
            if not own and not any(record.name.endswith(f".{name}") for record in records):
                response.set_rcode(dns.rcode.NXDOMAIN)
            soa = next(record for record in records if record.type == "SOA" and record.name == zone.name)
            response.authority.append(self._rrset(_negative(soa), _suffix(owner, zone.name)))
            return None
        rrset = self._rrset(found, owner)
        response.answer.append(rrset)
        return rrset[0].target if alias else None

    def _add_endpoint(
        self, response: dns.message.Message, owner: dns.name.Name, kind: str, region: str, *, first: bool
    ) -> None:
        if kind in ("A", "ANY"):
            record = Record(name="", type="A", ttl=ENDPOINT_TTL_SECONDS, values=(self._edge_addresses[region],))
            response.answer.append(self._rrset(record, owner))
        elif first:
            parent = f"execute-api.{region}.amazonaws.com"
            response.authority.append(self._rrset(_negative(_soa(parent)), _suffix(owner, parent)))

    def _refer(
        self, response: dns.message.Message, cut: dns.name.Name, servers: Record, records: Sequence[Record]
    ) -> None:
        """Name the servers of a delegated part of the zone, with their addresses where the zone has them."""
        referral = self._rrset(servers, cut)
        response.authority.append(referral)
        for server in (rdata.target for rdata in referral):
            for record in records:
                if record.name == name_of(server.labels[:-1]) and record.type in ("A", "AAAA"):
                    response.additional.append(self._rrset(record, server))

    def _zone(self, name: str) -> Zone | None:
        fitting = [zone for zone in self._snapshot().zones if _within(name, zone.name)]
        return max(fitting, key=lambda zone: len(zone.name), default=None)

    def _pick(self, own: Sequence[Record], kind: str) -> Record | None:
        found = [record for record in own if record.type == kind]
        return choose(found, self._healthy(), self._random) if found else None

    def _rrset(self, record: Record, owner: dns.name.Name) -> dns.rrset.RRset:
        ttl = min(record.ttl, max(1, int(record.ttl / self._time_scale())))
        # Route 53 takes a name without a final dot for an absolute one.
        return dns.rrset.from_text_list(
            owner, ttl, "IN", record.type, record.values, origin=dns.name.root, relativize=False
        )


def choose(records: Sequence[Record], healthy: Mapping[str, bool], random: Random) -> Record:
    """Return one of `records`, which share name and type, as Route 53 chooses among weighted records.

    The rules are those of "How Amazon Route 53 chooses records when health checking is configured". A record is healthy
    without a check and while the health of its check is unknown. When no record is healthy, all count as healthy.
    Records of weight 0 are chosen only when no other record is healthy, each with the same probability.

    Args:
        records: at least one.
        healthy: the health of each check by id.
    """
    living = [record for record in records if record.check_id is None or healthy.get(record.check_id, True)]
    candidates = living or list(records)
    weighted = [record for record in candidates if record.weight != 0]
    weights = [1 if record.weight is None else record.weight for record in weighted]
    return random.choices(weighted, weights)[0] if weighted else random.choice(candidates)


def _refusal(query: dns.message.Message, question: dns.rrset.RRset) -> dns.rcode.Rcode:
    if query.edns > 0:
        return dns.rcode.BADVERS
    served = question.rdclass in SERVED_CLASSES and question.rdtype not in TRANSFERS
    return dns.rcode.NOERROR if served else dns.rcode.REFUSED


def _response(packet: bytes, code: dns.rcode.Rcode, query: dns.message.Message | None = None) -> dns.message.Message:
    """Return a response without records to a packet, which has been parsed as `query` or cannot be."""
    response = dns.message.Message(int.from_bytes(packet[:2], "big"))
    response.flags = dns.flags.QR | (packet[2] & 1) << 8  # RD
    response.set_opcode(dns.opcode.Opcode(packet[2] >> 3 & 0xF))
    if query is not None:
        response.question = query.question
        if query.edns >= 0:
            response.use_edns(0, query.ednsflags & dns.flags.DO, EDNS_BYTES)
    response.set_rcode(code)
    return response


def _longest(query: dns.message.Message, *, udp: bool) -> int:
    if not udp:
        return TCP_BYTES
    return min(max(UDP_BYTES, query.payload), EDNS_BYTES) if query.edns >= 0 else UDP_BYTES


class _CaseSensitiveCompression(dict[dns.name.Name, int]):
    """The offsets of names in a message. dnspython's own table would change the case of names that differ by it."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[bytes, ...], int] = {}

    def get(self, name: dns.name.Name) -> int | None:  # type: ignore[override]  # dict.get has a default; the renderer passes none
        return self._offsets.get(name.labels)

    def __setitem__(self, name: dns.name.Name, offset: int) -> None:
        self._offsets[name.labels] = offset


def _to_wire(response: dns.message.Message, *, longest: int = TCP_BYTES) -> bytes:
    """Return the wire format.

    Raises:
        dns.exception.TooBig: it has more bytes than `longest`.
    """
    renderer: Any = dns.renderer.Renderer(  # type: ignore[no-untyped-call]  # dnspython does not annotate it
        response.id, response.flags, longest
    )
    renderer.compress = _CaseSensitiveCompression()
    for question in response.question:
        renderer.add_question(question.name, question.rdtype, question.rdclass)
    for section in (dns.renderer.ANSWER, dns.renderer.AUTHORITY, dns.renderer.ADDITIONAL):
        if section == dns.renderer.ADDITIONAL and response.opt is not None:
            renderer.add_opt(response.opt)
        for rrset in response.sections[section]:
            renderer.add_rrset(section, rrset, want_shuffle=False)
    renderer.write_header()
    return bytes(renderer.get_wire())


def _within(name: str, parent: str) -> bool:
    return name == parent or name.endswith(f".{parent}")


def _suffix(owner: dns.name.Name, name: str) -> dns.name.Name:
    """Return the end of `owner` that is `name`, in the client's letter case."""
    return owner.split(len(name.split(".")) + 1)[1]


def _delegation(records: Sequence[Record], zone: Zone, name: str, kind: str) -> Record | None:
    """Return the name servers to which the zone delegates `name` (RFC 1034, section 4.3.2, step 3b)."""
    cuts = [record for record in records if record.type == "NS" and record.name != zone.name]
    # The DS records of the delegated part belong to the zone itself (RFC 4035, section 3.1.4.1).
    left = [record for record in cuts if _within(name, record.name) and (kind, name) != ("DS", record.name)]
    return min(left, key=lambda record: len(record.name), default=None)


def _negative(soa: Record) -> Record:
    """Return an SOA record with the TTL of a negative answer (RFC 2308, section 5)."""
    return replace(soa, ttl=min(soa.ttl, int(soa.values[0].split()[-1])))


def _soa(name: str) -> Record:
    value = f"{NAME_SERVER}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 {NEGATIVE_TTL_SECONDS}"
    return Record(name=name, type="SOA", ttl=900, values=(value,))


def _all_of(zone: Zone) -> tuple[Record, ...]:
    """Return the records of a zone, with the SOA and NS records that each zone of Route 53 has."""
    own = {record.type for record in zone.records if record.name == zone.name}
    servers = Record(name=zone.name, type="NS", ttl=172800, values=(f"{NAME_SERVER}.",))
    missing = [record for record in (_soa(zone.name), servers) if record.type not in own]
    return (*zone.records, *missing)
