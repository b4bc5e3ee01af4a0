"""What an authoritative server of the zones answers to one DNS message."""

from collections.abc import Callable, Mapping, Sequence
from random import Random

from dnslib import QTYPE, RCODE, RR, DNSRecord  # type: ignore[import-untyped]

from healthcare_dr.emulator.route53.messages import respond
from healthcare_dr.emulator.route53.model import Record, Snapshot, Zone, endpoint_of, plain_name
from healthcare_dr.emulator.route53.selection import choose

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
        doors: Mapping[str, str],
        time_scale: Callable[[], float],
        random: Random,
    ) -> None:
        """`healthy`: verdicts by check id; `doors`: the address of each region's endpoints."""
        self._snapshot = snapshot
        self._healthy = healthy
        self._doors = doors
        self._time_scale = time_scale
        self._random = random

    def reply(self, packet: bytes, *, udp: bool) -> bytes | None:
        """The answer to a message, or None for what is not a DNS query."""
        return respond(packet, udp=udp, fill=self._fill)

    def _fill(self, answer: DNSRecord) -> None:
        asked, kind = str(answer.q.qname), QTYPE[answer.q.qtype]
        owner, name = asked, plain_name(asked)
        for hop in range(LONGEST_CHAIN):
            if (endpoint := endpoint_of(name)) and endpoint[1] in self._doors:
                self._add_endpoint(answer, owner, kind, endpoint[1], first=hop == 0)
                return
            zone = self._zone(name)
            if zone is None:
                if hop == 0:
                    answer.header.rcode = RCODE.REFUSED
                return
            if hop == 0:
                answer.header.aa = 1
            records = _all_of(zone)
            alias = self._pick(records, name, "CNAME") if kind != "CNAME" else None
            found = alias or self._pick(records, name, kind)
            if found is None:
                known = any(record.name == name or record.name.endswith(f".{name}") for record in records)
                if not known:
                    answer.header.rcode = RCODE.NXDOMAIN
                soa = next(record for record in records if record.type == "SOA" and record.name == zone.name)
                for authority in self._lines(soa, zone.name):
                    answer.add_auth(authority)
                return
            answer.add_answer(*self._lines(found, owner))
            if alias is None:
                return
            owner, name = alias.values[0], plain_name(alias.values[0])

    def _add_endpoint(self, answer: DNSRecord, owner: str, kind: str, region: str, *, first: bool) -> None:
        if kind == "A":
            record = Record(name=owner, type="A", ttl=ENDPOINT_TTL_SECONDS, values=(self._doors[region],))
            answer.add_answer(*self._lines(record, owner))
        elif first:
            parent = f"execute-api.{region}.amazonaws.com"
            for authority in self._lines(_soa(parent), parent):
                answer.add_auth(authority)

    def _zone(self, name: str) -> Zone | None:
        fitting = [zone for zone in self._snapshot().zones if name == zone.name or name.endswith(f".{zone.name}")]
        return max(fitting, key=lambda zone: len(zone.name), default=None)

    def _pick(self, records: Sequence[Record], name: str, kind: str) -> Record | None:
        found = [record for record in records if record.name == name and record.type == kind]
        return choose(found, self._healthy(), self._random) if found else None

    def _lines(self, record: Record, owner: str) -> list[RR]:
        ttl = max(1, int(record.ttl / self._time_scale()))
        text = "\n".join(f"{owner.removesuffix('.')}. {ttl} IN {record.type} {value}" for value in record.values)
        lines: list[RR] = RR.fromZone(text)
        return lines


def _soa(name: str) -> Record:
    value = f"{NAME_SERVER}. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 {NEGATIVE_TTL_SECONDS}"
    return Record(name=name, type="SOA", ttl=900, values=(value,))


def _all_of(zone: Zone) -> tuple[Record, ...]:
    own = {record.type for record in zone.records if record.name == zone.name}
    servers = Record(name=zone.name, type="NS", ttl=172800, values=(f"{NAME_SERVER}.",))
    missing = [record for record in (_soa(zone.name), servers) if record.type not in own]
    return (*zone.records, *missing)
