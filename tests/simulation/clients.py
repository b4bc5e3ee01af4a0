"""What clients do in a run, and the ledger of what was acknowledged to them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from botocore.exceptions import ClientError

from patient_api.contract.functions import DRAIN_FLAG_SECONDS
from patient_api.contract.keys import CONFLICT_PREFIX, VERSION_PREFIX
from patient_api.store.model import RecordKey
from simulation.platform import EAST, REGIONS, SHORT, WEST, NoResponseError, Platform, other
from simulation.scheduler import dice_of
from unit.patient_api.fakes.api import Reply, claims, event, patient
from unit.patient_api.fakes.aws import RECORDS
from unit.patient_api.fakes.documents import UPLOAD, announcement, offer, offered_parts
from unit.patient_api.fakes.regions import lineage

SYSTEM = "urn:simulation"
SHARED = "shared"
"""The system of the identifiers by which patients are created conditionally."""
FOLLOWS = "urn:healthcare-dr:follows"
REFUSALS = frozenset({404, 405, 410, 412, 422})
AGAIN = frozenset({409, 429, 500, 502, 503})
FAILOVER_SECONDS = 30.0
HISTORY = 10
"""Versions that a client reads of a history."""


@dataclass(frozen=True)
class Violation:
    """A property that did not hold: the check of it, and what was found."""

    check: str
    detail: str

    def __str__(self) -> str:
        return f"{self.check}: {self.detail}"


@dataclass(frozen=True)
class Operation:
    """One step of a client, at a time in seconds. Its dice are its own, so that steps can be left out."""

    number: int
    client: int
    at: float
    kind: str

    def __str__(self) -> str:
        return f"step {self.number} at {self.at:.1f} s: client {self.client}, {self.kind}"


@dataclass(frozen=True)
class Call:
    """A request that received a response.

    `first_sent` is when it, or an attempt without a response that may have been executed, was first sent to the region.
    """

    request: str
    tenant: str
    region: str
    method: str
    path: str
    status: int
    started: int
    ended: int
    first_sent: int


@dataclass(frozen=True)
class Write:
    """An acknowledged version, and the list entries that its writer added. It was written after `started`."""

    key: RecordKey
    stamp: str
    region: str
    started: int
    ended: int
    entries: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Read:
    """The version that a read of the current version returned.

    `least` is the version in Minimum-Version, and `arrived` whether the region had it, or one that follows it, when the
    response arrived.
    """

    key: RecordKey
    stamp: str
    region: str
    started: int
    ended: int
    least: str | None = None
    status: str = ""
    arrived: bool = False


@dataclass
class Known:
    """A record as clients know it."""

    key: RecordKey
    etag: str
    entries: set[str] = field(default_factory=set)
    deleted: bool = False


@dataclass
class Uploaded:
    """A document whose bytes were accepted by S3."""

    key: RecordKey
    content: bytes
    multipart: bool


@dataclass
class Ledger:
    """What was acknowledged to all clients."""

    calls: list[Call] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    patients: list[Known] = field(default_factory=list)
    documents: list[Known] = field(default_factory=list)
    uploads: list[Uploaded] = field(default_factory=list)
    rejected: list[Uploaded] = field(default_factory=list)
    """Uploads of other bytes than the document declares."""
    criteria: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    ended: int = 0
    """Steps that came to their end."""

    def violated(self, check: str, detail: str) -> None:
        self.violations.append(Violation(check, detail))


class Client:
    """A client of one tenant. It follows DNS to a region, and changes to the other one when its own fails."""

    def __init__(
        self, platform: Platform, ledger: Ledger, *, tenant: str, number: int, drained: Mapping[str, float]
    ) -> None:
        self.name = f"client-{number}"
        self.tenant = tenant
        self._platform = platform
        self._ledger = ledger
        self._drained = drained
        self._failed: dict[str, float] = {}
        self._first_sent: dict[tuple[str, object], int] = {}
        """When a request was first sent to a region, by its Idempotency-Key, or an object of its own."""
        self._sent = 0
        self._session: dict[RecordKey, str] = {}
        self._kinds: dict[str, Callable[[Operation, Random], None]] = {
            "create": self._create,
            "create once": self._create_once,
            "create unless it exists": self._create_unless,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "merge": self._merge,
            "read": self._read,
            "history": self._history,
            "search": self._search,
            "drain flag": self._drain_flag,
            "patch by criteria": self._patch_by_criteria,
            "document": self._document,
        }

    def perform(self, operation: Operation) -> None:
        """Perform one step."""
        self._platform.trace(self.name, str(operation))
        dice = dice_of(f"{self._platform.seed}/step/{operation.number}")
        self._kinds[operation.kind](operation, dice)
        self._ledger.ended += 1

    # Requests

    def region(self, dice: Random) -> str:
        """Return the region that DNS names: 70 % and 30 %, of those that are healthy and not drained."""
        chosen = EAST if dice.random() < 0.6 else WEST
        now = self._platform.scheduler.seconds
        if self._failed.get(chosen, -FAILOVER_SECONDS) + FAILOVER_SECONDS > now or chosen in self._drained:
            return other(chosen)
        return chosen

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        region: str,
        dice: Random,
        query: str = "",
        content: str | None = None,
        **headers: str,
    ) -> tuple[Reply, Call] | None:
        """Send one request. Return None when there is no response."""
        self._sent += 1
        request = f"{self.name}-{self._sent}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            named["content-type"] = content
        sent = event(method, path, body, headers=named, query=query, authorizer=claims(self.tenant))
        sent["requestContext"]["requestId"] = request
        scheduler = self._platform.scheduler
        started = scheduler.now
        self._platform.trace(self.name, f"{request} to {SHORT[region]}: {method} {path}?{query}", named)
        try:
            reply = self._platform.request(region, sent, dice)
        except NoResponseError as error:
            self._platform.trace(self.name, f"{request}: no response, {error}")
            self._failed[region] = scheduler.seconds
            return None
        self._platform.trace(self.name, f"{request}: {reply.status} {reply.headers.get('etag', '')}")
        call = Call(request, self.tenant, region, method, path, reply.status, started, scheduler.now, started)
        self._ledger.calls.append(call)
        if reply.status >= 500 and reply.status != 503:
            self._ledger.violated("no internal errors", f"{request}: {method} {path}: {reply.status} {reply.body}")
        return reply, call

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        dice: Random,
        tries: int = 3,
        region: str | None = None,
        **options: Any,
    ) -> tuple[Reply, Call] | None:
        """Send a request, and again after a failure that allows it, in the region that DNS then names."""
        result = None
        same = options.get("idempotency_key", object())
        for _ in range(tries):
            where = region or self.region(dice)
            first = self._first_sent.setdefault((where, same), self._platform.scheduler.now)
            answered = self.call(method, path, body, region=where, dice=dice, **options)
            if answered is not None:
                answered = answered[0], replace(answered[1], first_sent=first)
                result = answered
                self._check_refusal(answered, path, options)
                if answered[0].status not in AGAIN:
                    return answered
            self._platform.scheduler.sleep(dice.uniform(0.5, 2.0))
        return result

    def _check_refusal(self, answered: tuple[Reply, Call], path: str, options: dict[str, Any]) -> None:
        """Check that no refusal is due to a version that is still on its way to the region."""
        reply, call = answered
        _, _, type, *rest = path.split("/")
        if reply.status not in REFUSALS or not rest:
            return
        named = [options.get("if_match"), options.get("minimum_version"), *str(options.get("merges", "")).split(", ")]
        for etag in filter(None, named):
            stamp, pk = _stamp(etag), f"{self.tenant}#{type}#{rest[0]}"
            if self._only_in_the_other(call.region, pk, stamp):
                self._ledger.violated(
                    "a version on its way is not refused",
                    f"{call.request}: {call.method} {path} in {call.region}: {reply.status}, but {stamp} is on its way",
                )
                return

    def _only_in_the_other(self, region: str, pk: str, stamp: str) -> bool:
        """Return whether a region has neither a version nor one that follows it, and the other region has it."""
        there = self._platform.tables[other(region)].records
        return (pk, f"{VERSION_PREFIX}{stamp}") in there and not self._arrived(region, pk, stamp)

    def _arrived(self, region: str, pk: str, stamp: str) -> bool:
        """Return whether a region has a version, or one that follows it."""
        follows = lineage(self._platform.tables[region].partition(RECORDS, pk))
        return stamp in {*follows, *set().union(*follows.values())}

    def wrote(
        self, known: Known, answered: tuple[Reply, Call], *entries: str, first: bool = False, deleted: bool = False
    ) -> None:
        """Record an acknowledged write."""
        reply, call = answered
        stamp = _stamp(reply.headers["etag"])
        # A deletion of a deleted record is answered with the first one, whose client may have received no response.
        started = 0 if deleted else call.first_sent
        self._ledger.writes.append(Write(known.key, stamp, call.region, started, call.ended, frozenset(entries)))
        known.etag = reply.headers["etag"]
        known.entries |= set(entries)
        known.deleted = deleted
        self._session[known.key] = known.etag

    def _named(self, known: Known, dice: Random) -> dict[str, str]:
        """Return a header that names the version which the client knows, as the documentation demands, or none."""
        header = dice.choices(["if_match", "minimum_version", None], [5, 3, 2])[0]
        return {} if header is None else {header: known.etag}

    def _entry(self, operation: Operation, part: int = 0) -> str:
        return f"e{operation.number}-{part}"

    def _pick(self, dice: Random, known: Sequence[Known]) -> Known | None:
        mine = [one for one in known if one.key.tenant == self.tenant]
        # Mostly the same few records, so that writes meet.
        return mine[min(int(dice.expovariate(0.7)), len(mine) - 1)] if mine else None

    # Patients

    def _create(self, operation: Operation, dice: Random) -> None:
        entry = self._entry(operation)
        answered = self.send("POST", "/fhir/Patient", _patient(entry), dice=dice, tries=1)
        if answered and answered[0].status == 201:
            self.wrote(self.learn(answered[0], self._ledger.patients), answered, entry)

    def _create_once(self, operation: Operation, dice: Random) -> None:
        entry, key = self._entry(operation), f"key-{operation.number}"
        known: Known | None = None
        first = self.region(dice)
        regions = [first, *([other(first)] if dice.random() < 0.6 else []), *([first] if dice.random() < 0.3 else [])]
        for region in regions:
            answered = self.send(
                "POST", "/fhir/Patient", _patient(entry), dice=dice, region=region, idempotency_key=key, tries=2
            )
            if answered and answered[0].status in REFUSALS:
                self._ledger.violated("a repeated creation is not refused", f"{answered[1]}: {answered[0].body}")
            if answered and answered[0].status == 201:
                created = _id(answered[0])
                if known is None:
                    known = self.learn(answered[0], self._ledger.patients)
                elif known.key.id != created:
                    self._ledger.violated("a repeated creation creates one record", f"{known.key.id} and {created}")
                self.wrote(known, answered, entry)

    def _create_unless(self, operation: Operation, dice: Random) -> None:
        entry, value = self._entry(operation), f"p{dice.randrange(2)}"
        body = _patient(entry)
        body["identifier"].append({"system": f"{SYSTEM}:{SHARED}", "value": value})
        criteria = f"identifier={SYSTEM}:{SHARED}|{value}"
        answered = self.send("POST", "/fhir/Patient", body, dice=dice, if_none_exist=criteria, tries=2)
        if answered and answered[0].status == 201:
            self._ledger.criteria.setdefault((self.tenant, value), set()).add(_id(answered[0]))
            self.wrote(self.learn(answered[0], self._ledger.patients), answered, entry)

    def _update(self, operation: Operation, dice: Random) -> None:
        known, entry = self._pick(dice, self._ledger.patients), self._entry(operation)
        if known is None:
            return
        least = {"minimum_version": known.etag} if dice.random() < 0.5 else {}
        found = self.current(known, dice, **least)
        if found is None:
            return
        body = found.json
        _add(body, entry)
        answered = self.send("PUT", _path(known), body, dice=dice, if_match=found.headers["etag"], tries=2)
        if answered and answered[0].status == 200:
            self.wrote(known, answered, entry)

    def _patch(self, operation: Operation, dice: Random) -> None:
        known, entry = self._pick(dice, self._ledger.patients), self._entry(operation)
        if known is None:
            return
        changes = [{"op": "add", "path": "/identifier/-", "value": {"system": SYSTEM, "value": entry}}]
        match = self._named(known, dice)
        answered = self.send(
            "PATCH", _path(known), changes, dice=dice, content="application/json-patch+json", tries=2, **match
        )
        if answered and answered[0].status == 200:
            self.wrote(known, answered, entry)

    def _patch_by_criteria(self, operation: Operation, dice: Random) -> None:
        known, entry = self._pick(dice, self._ledger.patients), self._entry(operation)
        if known is None or not known.entries:
            return
        query = f"identifier={SYSTEM}|{dice.choice(sorted(known.entries))}"
        changes = [{"op": "add", "path": "/identifier/-", "value": {"system": SYSTEM, "value": entry}}]
        answered = self.send(
            "PATCH", "/fhir/Patient", changes, dice=dice, content="application/json-patch+json", tries=2, query=query
        )
        if answered and answered[0].status == 200:
            self.wrote(known, answered, entry)

    def _delete(self, operation: Operation, dice: Random) -> None:
        known = self._pick(dice, self._ledger.patients)
        if known is None:
            return
        match = self._named(known, dice)
        answered = self.send("DELETE", _path(known), dice=dice, tries=2, **match)
        if answered and answered[0].status == 204:
            self.wrote(known, answered, deleted=True)

    def _merge(self, operation: Operation, dice: Random) -> None:
        known = self._pick(dice, [one for one in self._ledger.patients if self._in_conflict(one)])
        if known is None:
            return
        region = self.region(dice)
        answered = self.send("GET", f"{_path(known)}/_history", dice=dice, region=region, query="_count=50")
        if answered is None or answered[0].status != 200:
            return
        entries = answered[0].json.get("entry", [])
        newest, lines = _lines(entries)
        if not lines:
            return
        tips = [entry for entry in entries if _stamp(entry["response"]["etag"]) in (newest, *lines)]
        united = {value for entry in tips if "resource" in entry for value in _entries(entry["resource"])}
        shared = {value for entry in tips if "resource" in entry for value in _entries(entry["resource"], SHARED)}
        options = {"if_match": f'W/"{newest}"', "merges": ", ".join(f'W/"{stamp}"' for stamp in lines)}
        if dice.random() < 0.2:
            answered = self.send("DELETE", _path(known), dice=dice, region=region, tries=2, **options)
            if answered and answered[0].status == 204:
                self.wrote(known, answered, deleted=True)
                self.check_merge(known, answered, lines)
            return
        body = _patient(*sorted(united), id=known.key.id)
        body["identifier"] += [{"system": f"{SYSTEM}:{SHARED}", "value": value} for value in sorted(shared)]
        answered = self.send("PUT", _path(known), body, dice=dice, region=region, tries=2, **options)
        if answered and answered[0].status == 200:
            self.wrote(known, answered, *sorted(united))
            self.check_merge(known, answered, lines)

    def check_merge(self, known: Known, answered: tuple[Reply, Call], lines: Sequence[str]) -> None:
        """Check that an acknowledged merge has merged all versions that it named."""
        reply, call = answered
        item = self._platform.tables[call.region].records.get(
            (known.key.partition, f"{VERSION_PREFIX}{_stamp(reply.headers['etag'])}"), {}
        )
        merged = {entry["S"] for entry in item.get("merges", {"L": []})["L"]}
        if not merged >= set(lines):
            self._ledger.violated(
                "no header is ignored in silence",
                f"{call.request}: {call.method} with Merges was acknowledged and merged {sorted(merged)}",
            )

    def _in_conflict(self, known: Known) -> bool:
        items = self._platform.tables[EAST].partition(RECORDS, known.key.partition)
        return any(item["sk"]["S"].startswith(CONFLICT_PREFIX) and "update_shard" in item for item in items)

    def _read(self, operation: Operation, dice: Random) -> None:
        written = [one for one in self._ledger.patients if one.key in self._session]
        known = self._pick(dice, written if written and dice.random() < 0.7 else self._ledger.patients)
        if known is not None:
            own = self._session.get(known.key)
            self.current(known, dice, **({"minimum_version": own} if own and dice.random() < 0.8 else {}))

    def current(self, known: Known, dice: Random, region: str | None = None, **headers: str) -> Reply | None:
        """Read the current version; None when there is none to be had."""
        answered = self.send("GET", _path(known), dice=dice, region=region, tries=2, **headers)
        if answered is None:
            return None
        reply, call = answered
        least = headers.get("minimum_version")
        if reply.status in (200, 410):
            self._ledger.reads.append(
                Read(
                    known.key,
                    _stamp(reply.headers["etag"]),
                    call.region,
                    call.started,
                    call.ended,
                    None if least is None else _stamp(least),
                    arrived=least is not None and self._arrived(call.region, known.key.partition, _stamp(least)),
                )
            )
        elif least is not None and reply.status != 503:
            self._ledger.violated(
                "a read with Minimum-Version returns that version or 503", f"{call.request}: {reply.status}"
            )
        return reply if reply.status == 200 else None

    def _history(self, operation: Operation, dice: Random) -> None:
        known = self._pick(dice, self._ledger.patients)
        if known is None:
            return
        own = self._session.get(known.key)
        least = {"minimum_version": own} if own is not None and dice.random() < 0.5 else {}
        answered = self.send("GET", f"{_path(known)}/_history", dice=dice, tries=2, query=f"_count={HISTORY}", **least)
        if answered is None or answered[0].status != 200:
            return
        reply, call = answered
        stamps = [_stamp(entry["response"]["etag"]) for entry in reply.json["entry"]]
        if own is not None and least and not self._arrived(call.region, known.key.partition, _stamp(own)):
            self._ledger.violated("a history has the version in Minimum-Version", call.request)
        oldest = stamps[-1] if len(stamps) == HISTORY else ""
        for write in self._ledger.writes:
            here = write.key == known.key and write.region == call.region and write.ended < call.started
            if here and write.stamp > oldest and write.stamp not in stamps:
                self._ledger.violated("a history has all acknowledged versions", f"{call.request}: {write}")

    def _drain_flag(self, operation: Operation, dice: Random) -> None:
        region = dice.choice(REGIONS)
        set_at, now = self._drained.get(region), self._platform.scheduler.seconds
        answered = self.call("GET", f"/drain/{region}", region=other(region), dice=dice)
        # Containers keep a flag that they have read.
        unchanged = set_at == self._drained.get(region)
        if answered is None or not unchanged or answered[0].status == 503:
            return
        if set_at is not None and set_at + DRAIN_FLAG_SECONDS < now and answered[0].status != 200:
            self._ledger.violated("a drain flag is visible after seconds", f"{region}: {answered[0].status}")

    def _search(self, operation: Operation, dice: Random) -> None:
        known = self._pick(dice, self._ledger.patients)
        if known is not None and known.entries:
            value = dice.choice(sorted(known.entries))
            self.send("GET", "/fhir/Patient", dice=dice, tries=2, query=f"identifier={SYSTEM}|{value}")

    # Documents

    def _document(self, operation: Operation, dice: Random) -> None:
        about = self._pick(dice, [one for one in self._ledger.patients if not one.deleted])
        if about is None:
            return
        multipart = dice.random() < 0.5
        content = f"document {operation.number}{' in parts' * 3 if multipart else ''}".encode()
        body = announcement(content, patient=about.key.id)
        # Some clients send other bytes than they have declared, of the same size.
        sent = content[::-1] if dice.random() < 0.12 else content
        repeated = dice.random() < 0.6
        key = {"idempotency_key": f"document-{operation.number}"} if repeated else {}
        first = self.region(dice)
        known: Known | None = None
        created: str | None = None
        for region in (first, *([other(first)] if repeated and dice.random() < 0.5 else ())):
            named = {"minimum_version": about.etag} if dice.random() < 0.7 else {}
            announced = self.announce(body, about, region, dice, key | named)
            if announced is None:
                continue
            if known is None:
                known, created = self.learn(announced[0], self._ledger.documents), region
            self.wrote(known, announced)
            if dice.random() < 0.85:
                self._upload(known, announced, sent, multipart, dice, other_bytes=sent != content)
        if known is None:
            return
        if repeated and dice.random() < 0.3:
            self._use_key_again(operation, about, known, created, dice)
        self._await_final(known, content, dice)

    def _use_key_again(
        self, operation: Operation, about: Known, known: Known, created: str | None, dice: Random
    ) -> None:
        """Announce and upload another document with the key of one that a region has created."""
        content = f"other {operation.number}".encode()
        region = dice.choice(REGIONS)
        announced = self.announce(
            announcement(content, patient=about.key.id), about, region, dice,
            {"idempotency_key": f"document-{operation.number}"},
        )  # fmt: skip
        if announced is None:
            return
        second = self.learn(announced[0], self._ledger.documents)
        if region == created or second.key == known.key:
            self._ledger.violated(
                "a key answers for one request", f"{announced[1].request}: {second.key.reference} after {known.key.id}"
            )
        self.wrote(second, announced)
        self._upload(second, announced, content, False, dice)
        self._await_final(second, content, dice)

    def announce(
        self, body: dict[str, Any], about: Known, region: str, dice: Random, headers: dict[str, str]
    ) -> tuple[Reply, Call] | None:
        """Announce a document about a patient. Return None unless it was created."""
        answered = self.send(
            "POST",
            "/fhir/DocumentReference",
            body,
            dice=dice,
            region=region,
            tries=2 if "idempotency_key" in headers else 1,
            **headers,
        )
        if answered is None:
            return None
        reply, call = answered
        named = headers.get("minimum_version")
        if (
            reply.status in REFUSALS
            and named is not None
            and self._only_in_the_other(region, about.key.partition, _stamp(named))
        ):
            self._ledger.violated(
                "a version on its way is not refused",
                f"{call.request}: {reply.status}, but {about.key.id} is on its way",
            )
        return answered if reply.status == 201 else None

    def _upload(
        self,
        known: Known,
        announced: tuple[Reply, Call],
        content: bytes,
        multipart: bool,
        dice: Random,
        *,
        other_bytes: bool = False,
    ) -> None:
        """Upload a document, or other bytes than it declares."""
        uploads = self._ledger.rejected if other_bytes else self._ledger.uploads
        resource = announced[0].json
        extensions = resource["content"][0]["attachment"]["extension"]
        # A document that was uploaded before has no offer any more.
        if resource["docStatus"] != "preliminary" or UPLOAD not in (extension["url"] for extension in extensions):
            return
        try:
            if not multipart:
                (address,) = [part["valueUrl"] for part in offer(resource) if part["url"] == "address"]
                self._platform.transfer(address, content)
                if other_bytes:
                    self._ledger.violated("S3 refuses bytes whose hash is not the signed one", known.key.reference)
                uploads.append(Uploaded(known.key, content, multipart))
                return
            sent = 0
            for part in offered_parts(resource):
                self._platform.transfer(part["address"], content[sent : sent + part["size"]])
                sent += part["size"]
        except (NoResponseError, ClientError) as error:
            self._platform.trace(self.name, f"upload of {known.key.id} failed: {type(error).__name__}")
            return
        completed = self.send(
            "POST", f"/fhir/DocumentReference/{known.key.id}/$complete", dice=dice, region=announced[1].region
        )
        if completed and completed[0].status == 200:
            uploads.append(Uploaded(known.key, content, multipart))

    def _await_final(self, known: Known, content: bytes, dice: Random) -> None:
        for _ in range(3):
            self._platform.scheduler.sleep(dice.uniform(2.0, 15.0))
            answered = self.send("GET", f"/fhir/DocumentReference/{known.key.id}", dice=dice, tries=1)
            if answered is None or answered[0].status != 200:
                continue
            reply, call = answered
            status = reply.json["docStatus"]
            url = reply.json["content"][0]["attachment"].get("url")
            try:
                downloaded = content if url is None else self._platform.transfer(url)
            except (NoResponseError, ClientError) as error:
                self._platform.trace(self.name, f"download of {known.key.id} failed: {type(error).__name__}")
                downloaded = content
            if downloaded != content:
                self._ledger.violated("no region serves other bytes", f"{call.request}: {known.key.reference}")
            self._ledger.reads.append(
                Read(known.key, _stamp(reply.headers["etag"]), call.region, call.started, call.ended, status=status)
            )
            if status == "final":
                return

    def learn(self, reply: Reply, known: list[Known]) -> Known:
        """Return the record of a response, and add it to those that clients know."""
        type, id = reply.location.split("/")[2:4]
        key = RecordKey(self.tenant, type, id)
        found = next((one for one in known if one.key == key), None)
        if found is None:
            found = Known(key, reply.headers["etag"])
            known.append(found)
        return found


def _lines(entries: Sequence[dict[str, Any]]) -> tuple[str, list[str]]:
    """Return the newest version of a history, and the last versions of the other lines."""
    stamps = [_stamp(entry["response"]["etag"]) for entry in entries]
    followed = {
        extension["valueId"]
        for entry in entries
        for extension in entry.get("extension", ())
        if extension["url"] == FOLLOWS
    }
    return stamps[0], [stamp for stamp in stamps[1:] if stamp not in followed]


def _patient(*entries: str, **elements: Any) -> dict[str, Any]:
    identifiers = [{"system": SYSTEM, "value": entry} for entry in entries]
    return patient(identifier=identifiers, **elements)


def _add(body: dict[str, Any], entry: str) -> None:
    body.setdefault("identifier", []).append({"system": SYSTEM, "value": entry})


def _entries(resource: dict[str, Any], shared: str = "") -> set[str]:
    system = f"{SYSTEM}:{shared}" if shared else SYSTEM
    return {one["value"] for one in resource.get("identifier", ()) if one["system"] == system}


def entries_of(text: str) -> set[str]:
    """Return the list entries in a stored resource."""
    return _entries(json.loads(text))


def _path(known: Known) -> str:
    return f"/fhir/{known.key.reference}"


def _stamp(etag: str) -> str:
    return etag.removeprefix('W/"').removesuffix('"')


def _id(reply: Reply) -> str:
    return reply.location.split("/")[3]
