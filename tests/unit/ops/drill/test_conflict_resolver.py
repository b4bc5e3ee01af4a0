"""Conflicts of a drill are resolved through the API, in two simulated regions that keep versions and markers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.conflict_resolver import (
    LARGEST_MERGE,
    QUIET_SECONDS,
    ConflictResolver,
    ResolvedConflicts,
    unmerged,
)
from healthcare_dr.ops.drill.load.client import appended, with_appended
from healthcare_dr.ops.drill.load.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.progress import POLL_SECONDS
from healthcare_dr.ops.drill.record_versions import FOLLOWS, RecordVersions
from patient_api.contract.keys import OPEN_CONFLICTS, UPDATE_INDEX

EAST, WEST = "us-east-1", "us-west-2"
HERE = Endpoint(region=EAST, host=f"a.execute-api.{EAST}.amazonaws.com", address="127.0.0.2", port=9)
Lineage = dict[str, tuple[str, ...]]


def stamp(number: int, region: str = EAST) -> str:
    return f"{number:013d}-0000-{region}"


def behind(version: str, lineage: Mapping[str, Sequence[str]]) -> set[str]:
    """Return a version and all its ancestors."""
    return {version}.union(*(behind(other, lineage) for other in lineage.get(version, ())))


def conflicts(lineage: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the versions that have several successors of which no version is a common descendant."""
    followed = {other for follows in lineage.values() for other in follows}
    found = []
    for after in sorted(followed):
        members = {version for version, follows in lineage.items() if after in follows}
        if len(members) > 1 and not any(members <= behind(version, lineage) for version in lineage):
            found.append(after)
    return found


def resource(id: str, version: str, lineage: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a patient to which each version has appended itself; a merge appends nothing."""
    ancestors = sorted(behind(version, lineage))
    return with_appended({"id": id, "n": version}, *(each for each in ancestors if len(lineage[each]) < 2))


class Regions:
    """One table. `WEST` lists the conflicts that were open `late` queries ago."""

    def __init__(self, late: int = 2) -> None:
        self.records: dict[str, Lineage] = {}
        self.now, self.late, self.page = 0.0, late, 2
        self.listed = {EAST: [list[str]()], WEST: [list[str]()]}
        self.puts: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.merged: list[tuple[str, ...]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def keep(self, tenant: str, kind: str, id: str, lineage: Lineage) -> None:
        self.records[f"{tenant}#{kind}#{id}"] = lineage

    def _open(self) -> list[tuple[str, str]]:
        return [(pk, f"c#{after}") for pk, lineage in self.records.items() for after in conflicts(lineage)]

    def client(self, region: str) -> "Table":
        return Table(self, region)

    def shown(self, region: str) -> list[tuple[str, str]]:
        seen = self.listed[region]
        seen.append(self._open())  # type: ignore[arg-type] # a JSON value or a fake
        return seen[-1 if region == EAST else max(1, len(seen) - 1 - self.late)]  # type: ignore[return-value]

    def answer(self, request: httpx.Request) -> httpx.Response:
        assert (request.url.host, request.headers["host"]) == (HERE.address, HERE.host)
        if self.answers and (status := self.answers.pop(0)) != 200:
            if not status:
                raise httpx.ReadTimeout("no")
            return httpx.Response(status)
        path = request.url.path.split("/")
        lineage = self.records["drill#Patient#" + path[3]]
        newest = sorted(lineage, reverse=True)
        if request.method == "GET":
            return self._history(path[3], lineage, newest, int(request.url.params.get("_cursor", 0)))
        merged = json.loads(request.content)
        assert {**merged, "extension": []} == {**resource(path[3], newest[0], lineage), "extension": []}
        self.merged.append(appended(merged))
        assert request.headers["if-match"] == f'W/"{newest[0]}"'
        merges = tuple(part.strip()[3:-1] for part in request.headers["merges"].split(","))
        assert set(merges) <= lineage.keys()
        self.puts.append({"id": path[3], "merges": merges})
        lineage[stamp(int(newest[0][:13]) + 1)] = (newest[0], *merges)
        return httpx.Response(200, json={})

    def _history(self, id: str, lineage: Lineage, newest: list[str], start: int) -> httpx.Response:
        entries = [
            {
                "response": {"etag": f'W/"{version}"'},
                "resource": resource(id, version, lineage),
                "extension": [
                    {"url": "urn:healthcare-dr:concurrent-with", "valueId": "x"},
                    *({"url": FOLLOWS, "valueId": other} for other in lineage[version]),
                ],
            }
            for version in newest[start : start + self.page]
        ]
        links = [{"relation": "self", "url": "https://elsewhere/"}]
        if start + self.page < len(newest):
            links.append({"relation": "next", "url": f"https://elsewhere/fhir/x?_cursor={start + self.page}"})
        return httpx.Response(200, json={"entry": entries, "link": links})


class Table:
    """A DynamoDB client that lists open conflicts, one item a page."""

    def __init__(self, regions: Regions, region: str) -> None:
        self._regions, self._region = regions, region
        self._items: list[tuple[str, str]] = []

    def query(self, **request: Any) -> dict[str, Any]:
        assert (request["TableName"], request["IndexName"]) == ("records", UPDATE_INDEX)
        assert request["ExpressionAttributeValues"] == {":shard": {"S": OPEN_CONFLICTS}}
        start = request.get("ExclusiveStartKey", 0)
        if not start:
            self._items = self._regions.shown(self._region)
        items = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in self._items[start : start + 1]]
        more = start + 1 < len(self._items)
        return {"Items": items, **({"LastEvaluatedKey": start + 1} if more else {})}


def resolver(
    regions: Regions, *ids: str, documents: Sequence[str] = (), updated: Sequence[str] = ()
) -> ConflictResolver:
    client = httpx.Client(transport=httpx.MockTransport(regions.answer))
    ledger = Ledger(endpoints={EAST: HERE}, buckets={}, token="t", client=client, clock=lambda: regions.now)
    for number, id in enumerate(ids):
        ledger.acknowledge(number=number, kind="patient", id=id, region=EAST)
    for number, id in enumerate(documents, len(ids)):
        ledger.acknowledge(number=number, kind="document", id=id, region=EAST)
    return ConflictResolver(
        ledger=ledger,
        endpoint=HERE,
        token="t",
        client=client,
        tables={region: regions.client(region) for region in (EAST, WEST)},
        table="records",
        tenant="drill",
        updated=lambda: updated,
        clock=lambda: regions.now,
        sleep=regions.sleep,
    )


def split() -> Lineage:
    """Return a first version and two concurrent branches of several versions."""
    east, west = [stamp(number) for number in (2, 4, 6, 7)], [stamp(number, WEST) for number in (3, 5)]
    lineage: Lineage = {stamp(1): ()}
    for line in (east, west):
        lineage |= {version: (before,) for before, version in zip((stamp(1), *line), line, strict=False)}
    return lineage


@pytest.mark.requirement("R4.2")
@pytest.mark.trap(1)
def test_each_conflict_is_merged_once_and_waited_for_in_both_regions() -> None:
    regions = Regions(late=20)
    for id in ("a", "b"):
        regions.keep("drill", "Patient", id, split())
    found = resolver(regions, "a", "b", "c").run()
    assert found == ResolvedConflicts(found=2, merged=2, left=())
    assert regions.puts == [{"id": id, "merges": (stamp(5, WEST),)} for id in ("a", "b")]
    assert regions.now >= 20 * POLL_SECONDS + QUIET_SECONDS
    # The list of the newest version, and then what only the other branch has.
    assert regions.merged == [(*map(stamp, (1, 2, 4, 6, 7)), stamp(3, WEST), stamp(5, WEST))] * 2


def test_without_a_conflict_nothing_is_written() -> None:
    regions = Regions()
    regions.keep("drill", "Patient", "a", {stamp(1): (), stamp(2): (stamp(1),)})
    assert resolver(regions, "a").run() == ResolvedConflicts(found=0, merged=0, left=())
    assert regions.puts == []


@pytest.mark.trap(1)
def test_conflict_that_no_region_lists_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    regions = Regions()
    regions.keep("drill", "Patient", "a", split())
    monkeypatch.setattr(regions, "shown", lambda _: [])
    assert resolver(regions, "a", updated=["a"]).run() == ResolvedConflicts(found=0, merged=0, left=("a",))


@pytest.mark.trap(1)
def test_conflict_of_updates_without_a_response_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger has no update of the patient, or of one region only: the others were not acknowledged."""
    regions = Regions()
    for id in ("a", "b"):
        regions.keep("drill", "Patient", id, split())
    monkeypatch.setattr(regions, "shown", lambda _: [])
    assert resolver(regions, "a", "b", updated=["b"]).run().left == ("b",)


@pytest.mark.trap(1)
def test_conflict_that_is_marked_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    regions = Regions()
    regions.keep("drill", "Patient", "a", split())
    shown, marked_at = regions.shown, QUIET_SECONDS + 20.0
    monkeypatch.setattr(regions, "shown", lambda region: shown(region) if regions.now > marked_at else [])
    assert resolver(regions, "a", updated=["a"]).run() == ResolvedConflicts(found=1, merged=1, left=())


def test_conflicts_of_other_ledgers_and_tenants_are_not_merged() -> None:
    regions = Regions()
    for tenant, id in (("drill", "earlier"), ("other", "a")):
        regions.keep(tenant, "Patient", id, split())
    assert resolver(regions, "a").run() == ResolvedConflicts(found=0, merged=0, left=())
    assert regions.puts == []


def test_conflicts_of_documents_are_waited_for_and_not_merged() -> None:
    regions = Regions()
    regions.keep("drill", "DocumentReference", "d", split())
    found = resolver(regions, documents=["d"]).run(stall_seconds=9.0)
    assert (found, regions.puts) == (ResolvedConflicts(found=1, merged=0, left=("d",)), [])
    assert 9.0 <= regions.now < 10.0


@pytest.mark.parametrize("status", [0, 404, 405, 409, 412, 422, 429, 503])
def test_temporary_errors_are_retried(status: int) -> None:
    regions = Regions()
    regions.keep("drill", "Patient", "a", split())
    regions.answers = [status, 200, status, 200, 200, 200, status]
    assert resolver(regions, "a").run() == ResolvedConflicts(found=1, merged=1, left=())
    assert len(regions.puts) == 1


def test_conflict_in_a_busy_region_is_unanswered() -> None:
    regions = Regions()
    regions.keep("drill", "Patient", "a", split())
    regions.answers = [503] * 1000
    assert resolver(regions, "a").run(stall_seconds=5.0) == ResolvedConflicts(
        found=1, merged=0, left=(), unanswered=("a",)
    )


def test_permanent_error_is_raised_without_ids() -> None:
    regions = Regions()
    regions.keep("drill", "Patient", "secret", split())
    regions.answers = [403]
    with pytest.raises(DeploymentError, match=f"{EAST} answered 403") as caught:
        resolver(regions, "secret").run()
    assert "secret" not in str(caught.value)


def test_table_that_cannot_be_read_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Query")

    monkeypatch.setattr(Table, "query", refuse)
    with pytest.raises(DeploymentError, match="AccessDenied"):
        resolver(Regions(), "a").run()


def test_more_branches_than_one_merge_accepts_need_several_merges() -> None:
    regions = Regions()
    siblings: Lineage = {stamp(number): (stamp(1),) for number in range(2, 2 + LARGEST_MERGE + 3)}
    regions.keep("drill", "Patient", "a", {stamp(1): (), **siblings})
    assert resolver(regions, "a").run() == ResolvedConflicts(found=1, merged=1, left=())
    assert [len(put["merges"]) for put in regions.puts] == [LARGEST_MERGE, 2]


@given(st.lists(st.sets(st.integers(0, 8), max_size=3), min_size=1, max_size=9))
def test_merge_of_the_unmerged_versions_closes_every_conflict_and_opens_none(picks: list[set[int]]) -> None:
    lineage: Lineage = {}
    for number, chosen in enumerate(picks):
        lineage[stamp(number)] = tuple(stamp(pick % number) for pick in sorted(chosen)) if number else ()
    newest, ends = max(lineage), unmerged(lineage)
    merged = lineage | {stamp(99): (newest, *ends)}
    assert conflicts(merged) == []
    assert behind(stamp(99), merged) == merged.keys()
    # Fewer versions do not close every conflict.
    for left_out in ends:
        fewer = lineage | {stamp(99): (newest, *(end for end in ends if end != left_out))}
        assert behind(stamp(99), fewer) != fewer.keys()


@pytest.mark.parametrize("content", [{"n": 1}, None])
def test_versions_of_a_repeated_request_are_no_conflict(content: dict[str, Any] | None) -> None:
    first, east, west, later = stamp(1), stamp(2), stamp(3, WEST), stamp(4)

    def ends(*others: tuple[str, str, dict[str, Any] | None]) -> tuple[str, ...]:
        """Return the ends of a record with two versions of one request, and with others that replace a version."""
        versions = [(east, first, content), (west, first, content), *others]
        resources = {
            version: {**resource, "id": "a", "meta": {"versionId": version, "lastUpdated": version}}
            for version, _, resource in versions
            if resource is not None
        }
        follows: Lineage = {first: (), **{version: (replaced,) for version, replaced, _ in versions}}
        return unmerged(RecordVersions(follows, resources).with_equal)

    assert ends() == ()
    for followed in (east, west):
        assert ends((later, followed, {"n": 2})) == ()
    assert ends((later, east, {"n": 2}), (stamp(5, WEST), west, {"n": 3})) == (later,)
    assert ends((later, first, {"n": 3})) == (west,)
    # A change between both, and the change of it, which is newer than both.
    between = stamp(2, WEST)
    assert ends((between, east, {"n": 4})) == (between,)
    assert ends((between, east, {"n": 4}), (later, between, {"n": 5})) == ()
