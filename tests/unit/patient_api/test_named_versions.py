"""A version that a request names and that is on its way is answered with 503, on every route (http.named_versions)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from patient_api.clock import FUTURE_MS, Stamp
from patient_api.contract.headers import MERGES, MINIMUM_VERSION
from patient_api.contract.keys import HEARTBEAT_PARTITION, OPEN_CONFLICTS, PATIENT, key
from patient_api.contract.routes import ROUTES, Route
from patient_api.http.named_versions import LATEST_MS
from patient_api.store.model import Marker, RecordKey, head_item, marker_item, version_of_item
from unit.patient_api.fakes.api import UNKNOWN, Platform, Reply, id_of, patient
from unit.patient_api.fakes.aws import PEER, RECORDS, REGION, START_MS, client_error
from unit.patient_api.fakes.documents import CONTENT, announcement
from unit.patient_api.fakes.s3 import FakeS3, Time

NEWER = f"{START_MS + 5}-0000-{PEER}"
OLDER = f"{START_MS - 5}-0000-{PEER}"
INVENTED = f"{START_MS + 5}-0000-{REGION}"
CRITERIA = "identifier=urn:example|1"
IDENTIFIER = [{"system": "urn:example", "value": "1"}]
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"


@dataclass(frozen=True)
class Row:
    """A request that names a version.

    `never` is the status when the version was never written or is lost, `absent` the same for an unknown record, and
    `followed` the status when the version is absent and one that replaces it is the newest. `suffix` follows the
    record's path; `{}` stands for the version, `?` begins criteria in place of the path.
    """

    name: str
    method: str
    never: int
    absent: int
    followed: int
    headers: dict[str, str] = field(default_factory=dict)
    suffix: str = ""
    body: Callable[[str, str], object] = lambda _id, _version: None

    def matches(self, route: Route) -> bool:
        """Return whether the path and the criteria are those of a route."""
        path = f"/fhir/Patient/{{id}}{self.suffix.replace('{}', '{vid}')}"
        if self.suffix.startswith("?"):
            path = "/fhir/Patient"
        elif self.suffix == "DocumentReference":
            path = "/fhir/DocumentReference"
        return route.path == path and route.conditional == self.suffix.startswith("?")

    def send(self, platform: Platform, path: str, version: str, **parts: Any) -> Reply:
        """Send the request about the record at a path."""
        headers = {name: value.format(version) for name, value in self.headers.items()}
        body = self.body(id_of(path), version)
        if self.suffix.startswith("?"):
            path, parts = "/fhir/Patient", {"query": self.suffix[1:]}
        elif self.suffix == "DocumentReference":
            path = "/fhir/DocumentReference"
        else:
            path += self.suffix.format(version)
        return platform.call(self.method, path, body, headers=headers, **parts)


def put(id: str, _version: str) -> object:
    return patient(id=id, identifier=IDENTIFIER)


def read_before(id: str, version: str) -> object:
    return patient(id=id, identifier=IDENTIFIER, meta={"versionId": version})


def changes(_id: str, _version: str) -> object:
    return [{"op": "add", "path": "/active", "value": True}]


def members(_id: str, version: str) -> object:
    return {"active": True, "meta": {"versionId": version}}


def document(id: str, _version: str) -> object:
    return announcement(CONTENT, patient=id)


MATCH, NONE_MATCH = {"if-match": 'W/"{}"'}, {"if-none-match": 'W/"{}"'}
MINIMUM, MERGED = {"minimum-version": 'W/"{}"'}, {"merges": 'W/"{}"'}
BY_PATCH = {"content-type": JSON_PATCH}
ROWS = [
    Row("read, minimum", "GET", 412, 404, 200, MINIMUM),
    Row("read, match", "GET", 412, 404, 412, MATCH),
    Row("read, list", "GET", 412, 404, 412, {"if-match": 'W/"1", W/"{}"'}),
    Row("read, none-match", "GET", 200, 404, 200, NONE_MATCH),
    Row("head, none-match", "HEAD", 200, 404, 200, NONE_MATCH),
    Row("vread", "GET", 404, 404, 503, suffix="/_history/{}"),
    Row("history, minimum", "GET", 412, 404, 200, MINIMUM, "/_history"),
    Row("update, match", "PUT", 412, 405, 412, MATCH, body=put),
    Row("update, list", "PUT", 412, 405, 412, {"if-match": 'W/"1", W/"{}"'}, body=put),
    Row("update, none-match", "PUT", 200, 405, 200, {**NONE_MATCH, "if-match": "*"}, body=put),
    Row("update, body", "PUT", 412, 405, 412, body=read_before),
    Row("update, minimum", "PUT", 412, 405, 200, {**MINIMUM, "if-match": "*"}, body=put),
    Row("update, merges", "PUT", 422, 422, 503, {**MERGED, "if-match": "*"}, body=put),
    Row("patch, match", "PATCH", 412, 404, 412, {**MATCH, **BY_PATCH}, body=changes),
    Row("patch, none-match", "PATCH", 200, 404, 200, {**NONE_MATCH, **BY_PATCH}, body=changes),
    Row("patch, minimum", "PATCH", 412, 404, 200, {**MINIMUM, **BY_PATCH}, body=changes),
    Row("patch, body", "PATCH", 412, 404, 412, {"content-type": MERGE_PATCH}, body=members),
    Row("delete, match", "DELETE", 412, 404, 412, MATCH),
    Row("delete, none-match", "DELETE", 204, 404, 204, NONE_MATCH),
    Row("delete, minimum", "DELETE", 412, 404, 204, MINIMUM),
    Row("delete, merges", "DELETE", 422, 422, 503, MERGED),
    Row("update by criteria", "PUT", 412, 412, 412, MATCH, f"?{CRITERIA}", lambda _id, _version: patient()),
    Row("update by criteria, body", "PUT", 412, 405, 412, {}, f"?{CRITERIA}", read_before),
    Row("patch by criteria", "PATCH", 412, 404, 412, {**MATCH, **BY_PATCH}, f"?{CRITERIA}", changes),
    Row("delete by criteria", "DELETE", 412, 404, 412, MATCH, f"?{CRITERIA}"),
    Row("document, minimum", "POST", 412, 422, 201, MINIMUM, "DocumentReference", document),
]
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture
def platform() -> Iterator[Platform]:
    buckets = {region: FakeS3(region, Time()).restricted() for region in (REGION, PEER)}
    built = Platform(buckets=buckets)
    yield built
    built.close()


def heartbeat(platform: Platform, at_ms: int) -> None:
    """Let a heartbeat arrive that the other region wrote at this time, and be the last one."""
    written = {"at": {"N": str(at_ms)}, "endpoint": {"S": "https://west.example"}}
    platform.dynamodb.tables[RECORDS][HEARTBEAT_PARTITION, PEER] = {**key(HEARTBEAT_PARTITION, PEER), **written}
    platform.now_ms = max(platform.now_ms, at_ms)


def check_refused(platform: Platform, reply: Reply, row: Row) -> None:
    """Check that a request was refused with 503, is in the audit trail, and has written nothing."""
    assert reply.status == 503, reply.body
    assert reply.headers["retry-after"] == "1"
    if row.method != "HEAD":
        assert reply.issue["code"] == "transient"
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["503"]


@EACH
@pytest.mark.parametrize("version", [NEWER, OLDER])
def test_version_on_its_way_returns_503(platform: Platform, row: Row, version: str) -> None:
    path, _ = platform.made(identifier=IDENTIFIER)
    check_refused(platform, row.send(platform, path, version), row)
    assert len(platform.versions()) == 1


@EACH
def test_version_of_a_record_on_its_way_returns_503(platform: Platform, row: Row) -> None:
    check_refused(platform, row.send(platform, f"/fhir/Patient/{UNKNOWN}", NEWER), row)
    assert not platform.records


@EACH
def test_version_of_a_deleted_record_on_its_way_returns_503(platform: Platform, row: Row) -> None:
    path, _ = platform.made(identifier=IDENTIFIER)
    platform.call("DELETE", path)
    check_refused(platform, row.send(platform, path, NEWER), row)


@EACH
@pytest.mark.parametrize("version", [INVENTED, f"{START_MS - 5}-0000-{REGION}", f"{START_MS + 5}-0000-eu-west-1"])
def test_version_that_was_never_written_returns_the_status_of_the_request(
    platform: Platform, row: Row, version: str
) -> None:
    path, _ = platform.made(identifier=IDENTIFIER)
    assert row.send(platform, path, version).status == row.never
    platform.records.clear()
    assert row.send(platform, f"/fhir/Patient/{UNKNOWN}", version).status == row.absent


@EACH
def test_version_that_is_lost_returns_the_status_of_the_request(platform: Platform, row: Row) -> None:
    path, _ = platform.made(identifier=IDENTIFIER)
    heartbeat(platform, START_MS + 5 + LATEST_MS)
    assert row.send(platform, path, NEWER).status == row.never
    platform.records.clear()
    heartbeat(platform, START_MS + 5 + LATEST_MS)
    assert row.send(platform, f"/fhir/Patient/{UNKNOWN}", NEWER).status == row.absent


class TestHeartbeat:
    """Only a later heartbeat of the peer shows that an absent version is no longer on its way."""

    @EACH
    def test_standing_still_keeps_the_version_on_its_way(self, platform: Platform, row: Row) -> None:
        path, _ = platform.made(identifier=IDENTIFIER)
        heartbeat(platform, START_MS + 4 + LATEST_MS)
        platform.now_ms += 10 * LATEST_MS
        check_refused(platform, row.send(platform, path, NEWER), row)

    @EACH
    def test_from_the_future_shows_nothing(self, platform: Platform, row: Row) -> None:
        path, _ = platform.made(identifier=IDENTIFIER)
        heartbeat(platform, START_MS + 10 * LATEST_MS)
        platform.now_ms -= FUTURE_MS + 1
        check_refused(platform, row.send(platform, path, NEWER), row)

    @pytest.mark.parametrize("row", [row for row in ROWS if row.suffix[:1] != "?"], ids=lambda row: row.name)
    def test_that_arrives_together_with_the_version_shows_nothing(self, platform: Platform, row: Row) -> None:
        path, etag = platform.made()

        def before(operation: str, request: Any) -> None:
            if operation == "get_item" and request["Key"]["pk"]["S"] == HEARTBEAT_PARTITION:
                platform.arrive(path, NEWER, etag[3:-1])
                heartbeat(platform, START_MS + 5 + LATEST_MS)

        platform.dynamodb.before = before
        check_refused(platform, row.send(platform, path, NEWER), row)

    def test_is_read_once_and_for_absent_versions_only(self, platform: Platform) -> None:
        path, etag = platform.made()
        heartbeat(platform, START_MS + 5 + LATEST_MS)
        many = ", ".join(f'W/"{START_MS - 5 - number}-0000-{PEER}"' for number in range(20))
        reads: list[int] = []
        platform.dynamodb.before = lambda _operation, request: reads.append(str(request).count(HEARTBEAT_PARTITION))
        assert platform.call("GET", path, headers={"if-match": many}).status == 412
        assert sum(reads) == 1
        platform.call("GET", path, headers={"if-match": etag, "minimum-version": etag})
        assert sum(reads) == 1

    @EACH
    def test_that_cannot_be_read_is_a_failure_in_the_audit_trail(self, platform: Platform, row: Row) -> None:
        path, _ = platform.made(identifier=IDENTIFIER)

        def before(operation: str, request: Any) -> None:
            if operation == "get_item" and request["Key"]["pk"]["S"] == HEARTBEAT_PARTITION:
                raise client_error("InternalServerError")

        platform.dynamodb.before = before
        assert row.send(platform, path, NEWER).status == 503
        assert [item["status"] for item in platform.audit(outcome="failure")] == ["503"]


def test_repeated_creation_whose_first_version_is_on_its_way_returns_503(platform: Platform) -> None:
    once = {"idempotency-key": "admission-1"}
    path = platform.create(headers=once).location
    (first,) = platform.versions()
    platform.records.clear()
    platform.arrive(path, f"{START_MS + 9}-0000-{PEER}", NEWER)

    def repeat() -> Reply:
        return platform.call("POST", "/fhir/Patient", patient(), headers=once)

    reply = repeat()
    assert reply.outcome == (503, "transient")
    assert reply.headers["retry-after"] == "1"
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["503"]
    heartbeat(platform, START_MS + 5 + LATEST_MS)
    assert repeat().status == 422
    platform.add({**first, "sk": {"S": f"v#{NEWER}"}, "version": {"S": NEWER}})
    assert repeat().location == path
    assert platform.call("POST", "/fhir/Patient", patient(active=True), headers=once).status == 422


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_current_version_in_if_none_match_returns_304_beside_an_older_absent_one(
    platform: Platform, method: str
) -> None:
    path, etag = platform.made()
    assert platform.call(method, path, headers={"if-none-match": f'{etag}, W/"{OLDER}"'}).status == 304
    assert platform.call(method, path, headers={"if-none-match": f'{etag}, W/"{NEWER}"'}).status == 503


def test_repeated_change_by_criteria_ends(platform: Platform) -> None:
    path, etag = platform.made(identifier=IDENTIFIER)
    platform.arrive(path, NEWER, etag[3:-1], identifier=IDENTIFIER)
    platform.add(head_item(version_of_item(platform.versions()[-1]), REGION))

    def delete() -> int:
        return platform.call("DELETE", "/fhir/Patient", query=CRITERIA, headers={"if-match": f'W/"{NEWER}"'}).status

    heartbeat(platform, START_MS + 6)
    assert [delete(), delete()] == [204, 503]
    heartbeat(platform, START_MS + 5 + LATEST_MS)
    assert delete() == 404
    platform.made(identifier=IDENTIFIER)
    assert delete() == 412


@EACH
def test_absent_version_whose_successor_is_here_is_known(platform: Platform, row: Row) -> None:
    path, _ = platform.made(identifier=IDENTIFIER)
    platform.arrive(path, f"{START_MS + 9}-0000-{PEER}", NEWER, identifier=IDENTIFIER)
    if row.suffix.startswith("?"):
        # Searches find records by their heads.
        platform.add(head_item(version_of_item(platform.versions()[-1]), REGION))
    assert row.send(platform, path, NEWER).status == row.followed


@EACH
def test_version_that_has_arrived_is_not_refused(platform: Platform, row: Row) -> None:
    path, etag = platform.made(identifier=IDENTIFIER)
    platform.arrive(path, NEWER, etag[3:-1], identifier=IDENTIFIER)
    if row.suffix.startswith("?"):
        # Searches find records by their heads.
        platform.add(head_item(version_of_item(platform.versions()[-1]), REGION))
    expected = {200, 201, 204}
    if "if-none-match" in row.headers:
        expected = {304 if row.method in {"GET", "HEAD"} else 412}
    assert row.send(platform, path, NEWER).status in expected


def test_lost_version_that_a_marker_names_can_be_merged(platform: Platform) -> None:
    path, etag = platform.made()
    lost = Stamp(START_MS - 3, 0, PEER)
    record = RecordKey("north-clinic", PATIENT, id_of(path))
    members = [str(lost), etag[3:-1]]
    platform.add(marker_item(Marker(record, "c#0", lost, OPEN_CONFLICTS, members=members)))

    def merge(version: str) -> int:
        return platform.update(path, {"if-match": etag, "merges": f'W/"{version}"'}).status

    assert merge(str(lost)) == 503
    heartbeat(platform, START_MS + LATEST_MS)
    assert merge(OLDER) == 422
    assert merge(str(lost)) == 200


def test_every_header_that_names_a_version_has_a_row() -> None:
    named = {(route.operation, name) for route in ROUTES for name in (MERGES, MINIMUM_VERSION) if name in route.headers}
    tested = {
        (route.operation, name)
        for row in ROWS
        for route in ROUTES
        for name in (MERGES, MINIMUM_VERSION)
        if route.method == row.method and row.matches(route) and name.lower() in row.headers
    }
    # documents/test_reading.py has the operations on one document.
    assert named - tested == {("readDocument", MINIMUM_VERSION), ("completeDocument", MINIMUM_VERSION)}


def named_read(platform: Platform, path: str, version: str) -> tuple[int, list[str]]:
    """Return the status of a read with Minimum-Version, and its reads of the records table."""
    platform.calls()
    status = platform.call("GET", path, headers={"minimum-version": f'W/"{version}"'}).status
    return status, [call for call in platform.calls() if call != "put_item"]


class TestMinimumVersion:
    def test_later_sibling_does_not_satisfy_it(self, platform: Platform) -> None:
        path, etag = platform.made()
        platform.now_ms += 9
        platform.put(path, etag, active=True)
        assert named_read(platform, path, NEWER) == (503, ["query", "get_item", "query", "get_item"])
        platform.arrive(path, NEWER, etag[3:-1])
        assert named_read(platform, path, NEWER) == (200, ["query", "get_item"])

    def test_newest_version_and_its_predecessors_cost_one_read(self, platform: Platform) -> None:
        path, first = platform.made()
        platform.arrive(path, NEWER, first[3:-1])
        platform.now_ms += 9
        merged = platform.update(path, {"if-match": f'W/"{NEWER}"', "merges": first})
        assert merged.status == 200
        for known in (first[3:-1], NEWER, merged.headers["etag"][3:-1]):
            assert named_read(platform, path, known) == (200, ["query"])
        third = platform.put(path, merged.headers["etag"], gender="other").headers["etag"]
        assert named_read(platform, path, third[3:-1]) == (200, ["query"])
        assert named_read(platform, path, NEWER) == (200, ["query", "get_item"])

    def test_descendant_in_the_chain_satisfies_it(self, platform: Platform) -> None:
        path, etag = platform.made()
        second, third = f"{START_MS + 7}-0000-{PEER}", f"{START_MS + 8}-0000-{PEER}"
        platform.arrive(path, third, second)
        assert named_read(platform, path, NEWER) == (503, ["query", "get_item", "query", "get_item"])
        platform.arrive(path, second, NEWER)
        assert named_read(platform, path, NEWER) == (200, ["query", "get_item", "query", "get_item"])
        assert named_read(platform, path, etag[3:-1])[0] == 200

    @pytest.mark.parametrize("prefix", ["v#", "l#"])
    def test_descendant_of_which_one_item_is_absent_does_not_satisfy_it(self, platform: Platform, prefix: str) -> None:
        path, _ = platform.made()
        second, third = f"{START_MS + 7}-0000-{PEER}", f"{START_MS + 8}-0000-{PEER}"
        platform.arrive(path, third, second)
        platform.arrive(path, second, NEWER)
        late = platform.records.pop((f"north-clinic#Patient#{id_of(path)}", f"{prefix}{second}"))
        assert named_read(platform, path, NEWER)[0] == 503
        platform.add(late)
        assert named_read(platform, path, NEWER)[0] == 200

    def test_descendant_that_arrives_after_the_newest_version_was_read_does_not_satisfy_it(
        self, platform: Platform
    ) -> None:
        path, _ = platform.made()

        def before(operation: str, request: Any) -> None:
            if operation == "query" and request["ExpressionAttributeValues"][":first"]["S"].startswith("l#"):
                platform.arrive(path, f"{START_MS + 7}-0000-{PEER}", OLDER)

        platform.dynamodb.before = before
        assert named_read(platform, path, OLDER)[0] == 503
        assert named_read(platform, path, OLDER) == (200, ["query"])

    def test_lineage_item_alone_does_not_satisfy_it(self, platform: Platform) -> None:
        path, etag = platform.made()
        platform.arrive(path, NEWER, etag[3:-1])
        version = platform.records.pop((f"north-clinic#Patient#{id_of(path)}", f"v#{NEWER}"))
        assert named_read(platform, path, NEWER)[0] == 503
        assert platform.update(path, {"if-match": f'W/"{NEWER}"'}).status == 503
        platform.add(version)
        assert named_read(platform, path, NEWER) == (200, ["query"])

    def test_later_versions_are_not_read(self, platform: Platform) -> None:
        path, etag = platform.made()
        for _ in range(3):
            etag = platform.put(path, etag).headers["etag"]
        platform.dynamodb.calls.clear()
        assert platform.call("GET", path, headers={"minimum-version": f'W/"{OLDER}"'}).status == 503
        _, lineage = (request for operation, request in platform.dynamodb.calls if operation == "query")
        assert lineage["ExpressionAttributeValues"][":first"] == {"S": f"l#{OLDER}"}
        assert lineage["ExpressionAttributeValues"][":last"] == {"S": f"l#{etag[3:-1]}"}

    def test_version_of_this_region_that_was_never_written_returns_412(self, platform: Platform) -> None:
        path, _ = platform.made()
        assert named_read(platform, path, INVENTED)[0] == 412

    def test_update_checks_it_beside_if_match(self, platform: Platform) -> None:
        path, etag = platform.made()
        early = platform.update(path, {"if-match": etag, "minimum-version": f'W/"{NEWER}"'})
        assert early.status == 503
        assert platform.update(path, {"if-match": etag, "minimum-version": etag}).status == 200
        calls = platform.calls()
        assert calls[-1] == "transact_write_items"

    def test_page_of_a_history_is_checked_against_the_newest_version(self, platform: Platform) -> None:
        path, etag = platform.made()
        for _ in range(3):
            etag = platform.put(path, etag).headers["etag"]
        page = platform.call("GET", f"{path}/_history", query="_count=2").json
        query = next(link["url"] for link in page["link"] if link["relation"] == "next").partition("?")[2]
        known = {"minimum-version": etag}
        assert platform.call("GET", f"{path}/_history", query=query, headers=known).status == 200
        known = {"minimum-version": f'W/"{NEWER}"'}
        assert platform.call("GET", f"{path}/_history", query=query, headers=known).status == 503


def test_only_the_newest_tags_of_a_long_list_are_looked_up(platform: Platform) -> None:
    path, _ = platform.made()
    many = ", ".join(f'W/"{START_MS - 5 - number}-0000-{PEER}"' for number in range(200))
    for header in ("if-match", "if-none-match"):
        platform.calls()
        platform.call("GET", path, headers={header: many})
        assert platform.calls().count("get_item") <= 10


def test_version_that_arrives_during_the_write_is_not_answered_with_412(platform: Platform) -> None:
    path, etag = platform.made()
    reads = 0

    def before(operation: str, _request: object) -> None:
        nonlocal reads
        reads += operation == "query"
        # The first query follows the failed write, the second one explains it.
        if reads == 2:
            platform.arrive(path, NEWER, etag[3:-1])

    platform.dynamodb.before = before
    assert platform.update(path, {"if-match": f'W/"{NEWER}"'}).outcome == (409, "conflict")


def test_failed_lookup_is_audited(platform: Platform) -> None:
    path, _ = platform.made()
    platform.dynamodb.faults["get_item"] = [client_error("InternalServerError")]
    assert platform.call("DELETE", path, headers={"if-match": f'W/"{OLDER}"'}).status == 503
    assert [item["outcome"] for item in platform.audit(action="D")] == ["failure"]
