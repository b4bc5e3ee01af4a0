"""What must hold after a run, when all faults have ended and everything has been replicated and processed."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, Literal, cast

from healthcare_dr.ops.drill.consistency import check_history
from healthcare_dr.ops.drill.journal import Operation
from healthcare_dr.ops.drill.report.anomalies import explained
from patient_api.aws import Clients
from patient_api.bootstrap import Services
from patient_api.clock import Stamp
from patient_api.contract.keys import DOCUMENT, OPEN_CONFLICTS, PATIENT, QUARANTINE_TAG, VERSION_PREFIX
from patient_api.documents.reference import object_key
from patient_api.handlers.responders import dispatcher
from patient_api.logging import StructuredLog
from patient_api.search.parameters import Tokenizer
from patient_api.secrets import Secrets
from patient_api.store.model import RecordKey, head_sk, token_partition
from simulation.clients import SYSTEM, Ledger, Read, Violation, Write, entries_of
from simulation.platform import EAST, REGIONS, WEST, LogStream, Platform, RegionKms
from unit.patient_api.fakes.api import Reply, claims, event
from unit.patient_api.fakes.aws import AUDIT, Item
from unit.patient_api.fakes.regions import ImmediateExecutor, behind, check_replicas, lineage

SEARCHED = 3
"""Records for which a run searches at the end."""
STARVING = 20
"""Announcements of a tenant that a sweep checks in the scenario of documents that are never uploaded."""


class DirectApi:
    """The API of a region without faults, delays and other tasks, for reads at the end of a run."""

    def __init__(self, platform: Platform, region: str) -> None:
        self._platform = platform
        self._region = region
        self._calls = 0
        services = Services(
            environment=platform.environments[region],
            clients=cast("Clients", self),
            log=StructuredLog(
                service="checks", region=region, stream=cast("Any", LogStream("checks", platform.defects))
            ),
            now=lambda: platform.wall(region),
            monotonic=lambda: platform.scheduler.seconds,
            pause=lambda _seconds: None,
            threads=lambda _workers, _name: cast("Any", ImmediateExecutor()),
        )
        self._api = dispatcher(services)

    def __call__(self, method: str, path: str, tenant: str, body: object = None, **options: Any) -> Reply:
        now = round(self._platform.wall(self._region) * 1000)
        sent = event(method, path, body, authorizer=claims(tenant), at_ms=now, **options)
        self._calls += 1
        sent["requestContext"]["requestId"] = f"check-{self._calls}"
        return Reply(self._api(sent, None))

    def dynamodb(self) -> Any:
        return self._platform.tables[self._region]

    def documents(self) -> Any:
        return self._platform.buckets[self._region]

    def documents_of(self, *, region: str, role: str) -> Any:
        return self._platform.buckets[region]

    def macs(self) -> Any:
        return RegionKms()


class Checks:
    """The state of both regions at the end of a run, compared with the ledger."""

    def __init__(self, platform: Platform, ledger: Ledger) -> None:
        self._platform = platform
        self._ledger = ledger
        self._found: list[Violation] = []
        self._east = platform.tables[EAST]
        self._records: dict[str, dict[str, Item]] = defaultdict(dict)
        """Of each record, its items by sort key."""
        for (pk, sk), item in self._east.records.items():
            self._records[pk][sk] = item
        self._records = {
            pk: items for pk, items in self._records.items() if any(sk.startswith(VERSION_PREFIX) for sk in items)
        }
        self._writes: dict[tuple[str, str], list[Write]] = defaultdict(list)
        for write in ledger.writes:
            self._writes[write.key.partition, write.stamp].append(write)
        self._lineages = {pk: lineage(items.values()) for pk, items in self._records.items()}

    def run(self) -> list[Violation]:
        """Return all violations."""
        self._found += self._ledger.violations
        for defect in self._platform.defects:
            self._violated("no unexpected exceptions, and no changed versions", defect)
        self._replicas()
        self._acknowledged()
        self._entries()
        self._registers()
        self._conflicts()
        self._criteria()
        self._index()
        self._audit()
        self._searches()
        self._documents()
        self._quarantine()
        self._statuses()
        self._liveness()
        return self._found

    def _violated(self, check: str, detail: str) -> None:
        self._found.append(Violation(check, detail))

    def _replicas(self) -> None:
        east, west = (self._platform.tables[region] for region in REGIONS)
        try:
            check_replicas(east, west)
        except (AssertionError, KeyError) as error:
            self._violated(
                "both replicas are equal, heads are the newest versions, markers name all siblings", repr(error)
            )
        if east.tables[AUDIT] != west.tables[AUDIT]:
            self._violated("both replicas of the audit trail are equal", "they differ")

    def _acknowledged(self) -> None:
        for write in self._ledger.writes:
            for region in REGIONS:
                if (write.key.partition, f"{VERSION_PREFIX}{write.stamp}") not in self._platform.tables[region].records:
                    self._violated("acknowledged versions are in both regions", f"{write} is missing in {region}")

    def _entries(self) -> None:
        """Check that no later version has lost a list entry that was acknowledged, unless it is a deletion."""
        for write in self._ledger.writes:
            pk = write.key.partition
            follows = self._lineages.get(pk, {})
            if write.stamp not in follows or not write.entries:
                continue
            for tip in sorted(follows.keys() - set().union(*follows.values())):
                item = self._records[pk][f"{VERSION_PREFIX}{tip}"]
                if "resource" not in item or write.stamp not in behind(tip, follows) or self._deleted_between(pk, tip):
                    continue
                if lost := write.entries - entries_of(item["resource"]["S"]):
                    self._violated("no acknowledged list entry is lost", f"{sorted(lost)} of {write} is not in {tip}")

    def _deleted_between(self, pk: str, tip: str) -> bool:
        """Return whether the version descends from a deletion, after which a record begins anew."""
        return any(
            "deleted" in self._records[pk].get(f"{VERSION_PREFIX}{stamp}", {})
            for stamp in behind(tip, self._lineages[pk])
        )

    def _registers(self) -> None:
        """Check that each record is a register with compare-and-set in each region, as drills check it."""
        operations = [self._operation(pk, item) for pk, items in self._records.items() for item in _versions(items)]
        for read in self._ledger.reads:
            self._session(read)
            # Of a document, the version with the highest status is current.
            if read.key.type == PATIENT:
                operations.append(_operation("read", read.key.partition, read.region, read, version=read.stamp))
        for anomaly in check_history(operations, {}).anomalies:
            self._violated("a record is a register in each region", "; ".join(explained([anomaly])))

    def _operation(self, pk: str, item: Item) -> Operation:
        """Return the write of a version, which took effect at any time unless its region acknowledged it."""
        stamp, region = item["version"]["S"], _region(item["version"]["S"])
        acknowledged = [write for write in self._writes.get((pk, stamp), ()) if write.region == region]
        first = min(acknowledged, key=lambda write: write.ended, default=None)
        named = item["replaces"]["S"] if "replaces" in item else None
        return _operation("append", pk, region, first, version=stamp, named=named)

    def _session(self, read: Read) -> None:
        """Check that a region had the version in Minimum-Version or one that descends from it, and did not go back."""
        follows = self._lineages.get(read.key.partition, {})
        if (
            read.least is None
            or (read.arrived and read.stamp >= read.least)
            or read.least in behind(read.stamp, follows)
        ):
            return
        self._violated(
            "a region that answers has the version in Minimum-Version or one that descends from it",
            f"{read.key.reference} in {read.region}: {read.stamp} for {read.least}",
        )

    def _conflicts(self) -> None:
        for pk, items in self._records.items():
            for sk, item in items.items():
                if not sk.startswith("c#") or item.get("update_shard", {}).get("S") != OPEN_CONFLICTS:
                    continue
                members = [items[f"{VERSION_PREFIX}{member['S']}"] for member in item["members"]["L"]]
                if pk.split("#")[1] == DOCUMENT:
                    self._violated("every conflict of a document is resolved", f"{pk} {sk}")
                elif len({(str(member.get("replaces")), _content(member)) for member in members}) == 1:
                    self._violated("siblings that are equal do not conflict", f"{pk} {sk}")

    def _criteria(self) -> None:
        """Check that of the records created on one condition, one was never deleted.

        While a record was deleted, the condition allowed another one; a merge can revive the first one later.
        """
        for (tenant, value), ids in self._ledger.criteria.items():
            keys = [RecordKey(tenant, PATIENT, id) for id in sorted(ids)]
            live = [key.id for key in keys if self._head(key) is not None and not self._ever_deleted(key)]
            if len(live) > 1:
                self._violated("conditional creation creates one record", f"{tenant}, {value}: {live}")

    def _ever_deleted(self, key: RecordKey) -> bool:
        items = self._records.get(key.partition, {})
        return any("deleted" in item for sk, item in items.items() if sk.startswith(VERSION_PREFIX))

    def _head(self, key: RecordKey) -> str | None:
        head = self._records.get(key.partition, {}).get(head_sk(EAST), {})
        text: str | None = head.get("resource", {}).get("S")
        return text

    def _index(self) -> None:
        secrets = Secrets(clients=cast("Clients", DirectApi(self._platform, EAST)), key=self._key)
        tokenizer = Tokenizer(secrets=secrets)
        for pk, items in self._records.items():
            head = items.get(head_sk(EAST), {})
            if "resource" not in head:
                continue
            tenant, type, id = pk.split("#")
            for token in tokenizer.tokens(tenant, json.loads(head["resource"]["S"])):
                place = (token_partition(tenant, type, token), id)
                for region in REGIONS:
                    if place not in self._platform.tables[region].records:
                        self._violated("the search index has the tokens of every head", f"{pk}: {place} in {region}")

    def _searches(self) -> None:
        """Check that a search in each region finds records by their list entries."""
        for region in REGIONS:
            api = DirectApi(self._platform, region)
            for known in self._ledger.patients[:SEARCHED]:
                head = self._head(known.key)
                for entry in sorted(entries_of(head))[:1] if head else ():
                    reply = api("GET", "/fhir/Patient", known.key.tenant, query=f"identifier={SYSTEM}|{entry}")
                    if f'"id":"{known.key.id}"' not in reply.body:
                        self._violated("a search finds every record", f"{known.key.reference} by {entry} in {region}")

    @property
    def _key(self) -> str:
        return self._platform.environments[EAST].index_key

    def _audit(self) -> None:
        events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        written: set[tuple[str, str, str]] = set()
        for item in self._east.tables[AUDIT].values():
            events[item["request_id"]["S"]].append(item)
            if "version" in item and item["outcome"]["S"] == "success":
                subject = item["entity"]["S"] if "entity" in item else item["record"]["S"].partition("#")[2]
                written.add((item["tenant"]["S"], subject, item["version"]["S"]))
        for pk, follows in self._lineages.items():
            tenant, type, id = pk.split("#")
            for stamp in follows:
                if (tenant, f"{type}/{id}", stamp) not in written:
                    self._violated("every version has an audit event", f"{pk} {stamp}")
        for call in self._ledger.calls:
            if call.status >= 500 or call.status == 400 or not call.path.startswith("/fhir/"):
                continue
            if call.status == 422 and not events[call.request]:
                continue  # an invalid resource is refused before any access
            own = [item for item in events[call.request] if "amends" not in item]
            expected = 1 if call.path != "/fhir/Patient" or call.method != "GET" else max(1, len(own))
            kinds = [(item["outcome"]["S"], item["status"]["N"]) for item in events[call.request]]
            if len(own) != expected:
                self._violated("every decision has one audit event", f"{call}: {kinds}")
            # A read is recorded before its result is known, and amended if it is refused.
            decision = ("success" if call.status < 400 else "refused", str(call.status))
            amended = [kind for kind, item in zip(kinds, events[call.request], strict=True) if "amends" in item]
            if decision not in (amended or kinds):
                self._violated("an audit event has the decision", f"{call}: {kinds}")

    def _documents(self) -> None:
        apis = {region: DirectApi(self._platform, region) for region in REGIONS}
        seen = {read.key for read in self._ledger.reads if read.status == "final"}
        uploaded = {upload.key: upload for upload in self._ledger.uploads}
        rejected = {upload.key for upload in self._ledger.rejected}
        for pk, items in self._records.items():
            key = RecordKey(*pk.split("#"))
            if key.type != DOCUMENT:
                continue
            statuses = {
                sk.removeprefix(VERSION_PREFIX): json.loads(item["resource"]["S"])["docStatus"]
                for sk, item in items.items()
                if sk.startswith(VERSION_PREFIX)
            }
            if head_sk(EAST) not in items:
                continue  # reported by the comparison of the replicas
            now = json.loads(items[head_sk(EAST)]["resource"]["S"])["docStatus"]
            if ("final" in statuses.values() or key in seen) and now != "final":
                self._violated("a final document stays final", f"{pk}: {statuses}")
            elif key in uploaded and now != "final":
                self._violated("an uploaded document becomes final", f"{pk}: {statuses}")
            elif key in rejected and now != "entered-in-error":
                self._violated("a document with other bytes is in error", f"{pk}: {statuses}")
            elif now == "final":
                for region, api in apis.items():
                    self._readable(key, uploaded.get(key), region, api)

    def _quarantine(self) -> None:
        """Check that the objects with other bytes than their document declares are in quarantine."""
        for upload in self._ledger.rejected:
            for region, bucket in self._platform.buckets.items():
                for stored in bucket.objects.get(object_key(upload.key), ()):
                    if stored.content == upload.content and stored.tags.get(QUARANTINE_TAG) != "true":
                        self._violated(
                            "other bytes are in quarantine",
                            f"{upload.key.reference} in {region}",
                        )

    def _statuses(self) -> None:
        """Check that no region shows a document as final, and later otherwise."""
        final: dict[tuple[RecordKey, str], int] = {}
        for read in sorted(self._ledger.reads, key=lambda read: read.ended):
            if read.status == "final":
                final.setdefault((read.key, read.region), read.ended)
            elif read.status and final.get((read.key, read.region), read.ended) < read.started:
                self._violated("a final document stays final", f"{read} after final")

    def _readable(self, key: RecordKey, upload: Any, region: str, api: DirectApi) -> None:
        reply = api("GET", f"/fhir/{key.reference}", key.tenant)
        attachment = reply.json["content"][0]["attachment"] if reply.status == 200 else {}
        address = self._platform.addresses.get(attachment.get("url", ""))
        if address is None:
            self._violated("the bytes of a final document are readable", f"{key.reference} in {region}: {reply.status}")
            return
        content = self._platform.buckets[address.region].use(address)
        if upload is not None and content != upload.content:
            self._violated(
                "the bytes of a final document are those that were announced", f"{key.reference} in {region}"
            )

    def _liveness(self) -> None:
        """Check that each record accepts a write in both regions."""
        for region in REGIONS:
            api = DirectApi(self._platform, region)
            for known in self._ledger.patients:
                change = [{"op": "add", "path": "/active", "value": True}]
                reply = api(
                    "PATCH", f"/fhir/{known.key.reference}", known.key.tenant, change,
                    headers={"content-type": "application/json-patch+json"},
                )  # fmt: skip
                if reply.status in (200, 404, 410):
                    continue
                ahead = self._ahead(known.key)
                self._violated(
                    "every record accepts writes",
                    f"{known.key.reference} in {region}: {reply.status} {reply.body}, {ahead} ms ahead",
                )

    def _ahead(self, key: RecordKey) -> int:
        stamp = Stamp.parse(max(self._lineages.get(key.partition, {"": set()})))
        return 0 if stamp is None else stamp.millis - round(self._platform.wall(WEST) * 1000)


def _versions(items: Mapping[str, Item]) -> Iterator[Item]:
    return (item for sk, item in items.items() if sk.startswith(VERSION_PREFIX))


def _operation(
    kind: Literal["append", "read"],
    record: str,
    region: str,
    times: Read | Write | None,
    *,
    version: str,
    named: str | None = None,
) -> Operation:
    """Return an operation of the checker of drills, in microseconds; without times, it may have been at any time."""
    began, ended = (-inf, inf) if times is None else (times.started, times.ended)
    return Operation(
        client=0, region=region, record=record, kind=kind, began=began, ended=ended, named=named, version=version
    )


def _region(stamp: str) -> str:
    return stamp.split("-", 2)[2]


def _content(item: Item) -> str:
    """Return the content of a version without its id and meta."""
    if "resource" not in item:
        return "deleted"
    resource = json.loads(item["resource"]["S"])
    return json.dumps({name: value for name, value in resource.items() if name not in ("id", "meta")}, sort_keys=True)
