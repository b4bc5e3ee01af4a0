"""Reading, changing and deleting versions, and the history of a record."""

import json
from typing import Any

import pytest

from patient_api.records.items import head_sk
from unit.patient_api.fakes import PEER, RECORDS, REGION, START_MS, Platform, Reply, claims, outcome, patient

UNKNOWN = "00000000-0000-4000-8000-000000000000"
PATCH = "application/json-patch+json"


def made(platform: Platform, **elements: Any) -> tuple[str, str]:
    """The path and the ETag of a new patient."""
    reply = platform.create(patient(**elements))
    return f"/fhir/Patient/{reply.json['id']}", reply.headers["etag"]


def put(platform: Platform, path: str, etag: str, **elements: Any) -> Reply:
    body = patient(id=path.rpartition("/")[2], **elements)
    reply = platform.call("PUT", path, body, headers={"if-match": etag})
    assert reply.status == 200, reply.body
    return reply


def patched(platform: Platform, path: str, etag: str, *operations: dict[str, Any]) -> Reply:
    headers = {"if-match": etag, "content-type": PATCH}
    return platform.call("PATCH", path, list(operations), headers=headers)


def arrive(platform: Platform, path: str, stamp: str, replaces: str | None, **elements: Any) -> None:
    """A version that the other region has written reaches this one, which has not put its head to it."""
    key = path.rpartition("/")[2]
    resource = patient(id=key, meta={"versionId": stamp}, **elements)
    item: dict[str, Any] = {
        "pk": {"S": f"north-clinic#Patient#{key}"},
        "sk": {"S": f"v#{stamp}"},
        "version": {"S": stamp},
        "method": {"S": "PUT"},
        "resource": {"S": json.dumps(resource)},
    }
    if replaces:
        item["replaces"] = {"S": replaces}
    platform.dynamodb.tables[RECORDS][item["pk"]["S"], item["sk"]["S"]] = item


def followed(entry: dict[str, Any]) -> list[str]:
    """The versions that one of a history names as those it replaced or merged."""
    extensions = entry.get("extension", [])
    return [found["valueId"] for found in extensions if found["url"] == "urn:healthcare-dr:follows"]


def test_each_version_can_be_read(platform: Platform) -> None:
    path, etag = made(platform)
    second = put(platform, path, etag, active=True)
    first = platform.call("GET", f"{path}/_history/{etag[3:-1]}")
    assert (first.status, first.headers["etag"], "active" in first.json) == (200, etag, False)
    assert platform.call("GET", f"{path}/_history/{second.json['meta']['versionId']}").body == second.body


@pytest.mark.parametrize("vid", ["1", f"{START_MS}-0009-us-east-1", "Zubrowka"])
def test_a_version_that_is_not_there(platform: Platform, vid: str) -> None:
    path, _ = made(platform)
    assert platform.call("GET", f"{path}/_history/{vid}").status == 404


def test_a_patch_changes_what_it_names(platform: Platform) -> None:
    path, etag = made(platform, gender="female")
    reply = patched(platform, path, etag, {"op": "replace", "path": "/gender", "value": "other"})
    assert (reply.status, reply.json["gender"], reply.json["name"]) == (200, "other", [{"family": "Example"}])
    assert platform.call("GET", path).body == reply.body
    assert platform.versions()[-1]["method"] == {"S": "PATCH"}


def test_a_patch_must_leave_a_valid_resource(platform: Platform) -> None:
    path, etag = made(platform)
    reply = patched(platform, path, etag, {"op": "add", "path": "/gender", "value": "Zubrowka"})
    assert (reply.status, reply.json["issue"][0]["expression"]) == (422, ["Patient.gender"])
    assert len(platform.versions()) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 428), ({"if-match": 'W/"1"'}, 412), ({"if-match": f'W/"{START_MS}-0009-us-east-1"'}, 412)],
)
def test_a_patch_needs_the_current_version(platform: Platform, headers: dict[str, str], status: int) -> None:
    path, _ = made(platform)
    reply = platform.call("PATCH", path, [], headers={"content-type": PATCH, **headers})
    assert reply.status == status


def test_a_patch_of_nothing(platform: Platform) -> None:
    etag = f'W/"{START_MS}-0000-us-east-1"'
    assert patched(platform, f"/fhir/Patient/{UNKNOWN}", etag).status == 404


def test_what_is_deleted_is_gone_but_its_versions_are_kept(platform: Platform) -> None:
    path, etag = made(platform)
    deleted = platform.call("DELETE", path)
    assert (deleted.status, deleted.body) == (204, "")
    read = platform.call("GET", path)
    assert (read.status, outcome(read.json), read.headers["etag"]) == (410, "deleted", deleted.headers["etag"])
    assert platform.call("GET", f"{path}/_history/{etag[3:-1]}").status == 200
    assert platform.call("GET", f"{path}/_history/{deleted.headers['etag'][3:-1]}").status == 410
    assert patched(platform, path, deleted.headers["etag"]).status == 410
    assert [item["status"] for item in platform.audit(action="D")] == ["204"]


def test_deleting_twice_is_deleting_once(platform: Platform) -> None:
    path, _ = made(platform)
    first, second = platform.call("DELETE", path), platform.call("DELETE", path)
    assert (second.status, second.headers["etag"]) == (204, first.headers["etag"])
    assert len(platform.versions()) == 2
    assert len(platform.audit(action="D")) == 2


def test_a_delete_may_name_the_version(platform: Platform) -> None:
    path, etag = made(platform)
    assert platform.call("DELETE", path, headers={"if-match": 'W/"1"'}).status == 412
    assert platform.call("DELETE", path, headers={"if-match": etag}).status == 204
    assert platform.call("DELETE", f"/fhir/Patient/{UNKNOWN}").status == 404


def test_a_deleted_record_can_be_written_again(platform: Platform) -> None:
    path, _ = made(platform)
    tombstone = platform.call("DELETE", path).headers["etag"]
    put(platform, path, tombstone, active=True)
    assert platform.call("GET", path).json["active"] is True


def test_the_history_shows_every_version_newest_first(platform: Platform) -> None:
    path, etag = made(platform)
    second = put(platform, path, etag, active=True)
    platform.call("DELETE", path)
    history = platform.call("GET", f"{path}/_history").json
    assert (history["resourceType"], history["type"], history["total"]) == ("Bundle", "history", 3)
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert [entry["response"]["status"] for entry in history["entry"]] == ["204", "200", "201"]
    assert "resource" not in history["entry"][0]
    assert history["entry"][1]["resource"] == second.json
    assert history["entry"][2]["response"]["etag"] == etag
    assert {entry["fullUrl"] for entry in history["entry"]} == {f"https://api.example.com{path}"}


def test_a_long_history_comes_in_pages(platform: Platform) -> None:
    path, etag = made(platform)
    stamps = [etag]
    for number in range(6):
        platform.now_ms += number % 2
        stamps.append(put(platform, path, stamps[-1], active=bool(number % 2)).headers["etag"])
    seen: list[str] = []
    url, query = f"{path}/_history", "_count=3"
    while True:
        page = platform.call("GET", url, query=query).json
        assert "total" not in page
        seen += [entry["response"]["etag"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        assert following[0].startswith(f"https://api.example.com{path}/_history?")
        query = following[0].partition("?")[2]
    assert seen == stamps[::-1]


def test_a_cursor_of_another_record_is_refused(platform: Platform) -> None:
    one, etag = made(platform)
    put(platform, one, etag)
    other, _ = made(platform)
    link = platform.call("GET", f"{one}/_history", query="_count=1").json["link"][1]["url"]
    query = link.partition("?")[2]
    assert platform.call("GET", f"{one}/_history", query=query).status == 200
    assert platform.call("GET", f"{other}/_history", query=query).status == 400
    platform.now_ms += 3_601_000
    assert platform.call("GET", f"{one}/_history", query=query).status == 400


@pytest.mark.parametrize("query", ["_count=0", "_count=x", "_count=-1", "_count=²", "_since=2020", "_cursor=a.b"])
def test_what_a_history_does_not_take(platform: Platform, query: str) -> None:
    path, _ = made(platform)
    assert platform.call("GET", f"{path}/_history", query=query).status == 400
    assert platform.call("GET", f"/fhir/Patient/{UNKNOWN}/_history").status == 404


@pytest.mark.trap(1)
def test_a_version_from_the_other_region_is_read_before_the_head_is_put_to_it(platform: Platform) -> None:
    path, etag = made(platform)
    arrive(platform, path, f"{START_MS + 5}-0000-{PEER}", etag[3:-1], active=True)
    assert platform.call("GET", path).json["active"] is True


def head_key(path: str, region: str = REGION) -> tuple[str, str]:
    """Where a record's head of a region is."""
    return f"north-clinic#Patient#{path.rpartition('/')[2]}", head_sk(region)


def test_a_read_moves_the_clock_past_what_it_read(platform: Platform) -> None:
    path, etag = made(platform)
    arrive(platform, path, f"{START_MS + 900}-0007-{PEER}", etag[3:-1])
    assert platform.call("GET", path).status == 200
    assert platform.create().json["meta"]["versionId"] == f"{START_MS + 900}-0008-{REGION}"


def test_a_clock_that_is_far_wrong_does_not_spread(platform: Platform) -> None:
    path, etag = made(platform)
    arrive(platform, path, f"{START_MS + 3_600_000}-0000-{PEER}", etag[3:-1])
    assert platform.call("GET", path).status == 200
    assert platform.create().json["meta"]["versionId"].startswith(str(START_MS))


def test_a_caller_never_gets_an_older_version_than_it_knows(platform: Platform) -> None:
    path, etag = made(platform)
    known = f"{START_MS + 5}-0000-{PEER}"
    early = platform.call("GET", path, headers={"minimum-version": f'W/"{known}"'})
    assert (early.status, outcome(early.json), early.headers["retry-after"]) == (503, "transient", "1")
    arrive(platform, path, known, etag[3:-1], active=True)
    assert platform.call("GET", path, headers={"minimum-version": f'W/"{known}"'}).json["active"] is True
    assert platform.call("GET", path, headers={"minimum-version": etag}).status == 200
    assert platform.call("GET", path, headers={"minimum-version": 'W/"1"'}).status == 400
    unseen = platform.call("GET", f"/fhir/Patient/{UNKNOWN}", headers={"minimum-version": etag})
    assert unseen.status == 503


def test_a_version_the_caller_has_is_not_sent_again(platform: Platform) -> None:
    path, etag = made(platform)
    reply = platform.call("GET", path, headers={"if-none-match": etag})
    assert (reply.status, reply.body, reply.headers["etag"]) == (304, "", etag)
    assert len(platform.audit(action="R")) == 1


def test_minimal_answers(platform: Platform) -> None:
    minimal = {"prefer": "respond-async, return=minimal"}
    reply = platform.call("POST", "/fhir/Patient", patient(), headers=minimal)
    assert (reply.status, reply.body, "content-type" in reply.headers) == (201, "", False)
    path, etag = reply.headers["location"].partition("/_history")[0], reply.headers["etag"]
    body = patient(id=path.rpartition("/")[2])
    changed = platform.call("PUT", path, body, headers={"if-match": etag, **minimal})
    assert (changed.status, changed.body) == (200, "")
    assert platform.call("GET", path).headers["etag"] == changed.headers["etag"]


@pytest.mark.parametrize(
    ("accept", "query", "status"),
    [
        ("application/fhir+json", "", 200),
        ("text/html, */*;q=0.1", "", 200),
        ("application/fhir+xml", "", 406),
        ("application/json;q=0", "", 406),
        ("application/fhir+json; fhirVersion=3.0", "", 406),
        ("application/fhir+json; fhirVersion=4.0", "", 200),
        ("application/fhir+xml", "_format=json", 200),
        ("application/fhir+json", "_format=xml", 406),
        ("", "_format=application/fhir+json", 200),
    ],
)
def test_only_json_is_written(platform: Platform, accept: str, query: str, status: int) -> None:
    path, _ = made(platform)
    reply = platform.call("GET", path, headers={"accept": accept} if accept else {}, query=query)
    assert reply.status == status


def test_rights_by_verb(platform: Platform) -> None:
    path, etag = made(platform)
    only = {letter: claims(scope=f"system/Patient.{letter}") for letter in "cruds"}
    calls: dict[str, tuple[str, str, dict[str, str]]] = {
        "d": ("DELETE", path, {}),
        "u": ("PATCH", path, {"if-match": etag, "content-type": PATCH}),
        "r": ("GET", f"{path}/_history", {}),
    }
    for letter, (method, at, headers) in calls.items():
        for held, authorizer in only.items():
            reply = platform.call(method, at, [] if method == "PATCH" else None, headers=headers, authorizer=authorizer)
            assert (reply.status == 403) is (held != letter), (letter, held, reply.body)
        path, etag = made(platform) if letter == "d" else (path, etag)
        calls["u"] = ("PATCH", path, {"if-match": etag, "content-type": PATCH})
        calls["r"] = ("GET", f"{path}/_history", {})


@pytest.mark.trap(1)
def test_an_update_settles_a_conflict_by_naming_what_it_merges(platform: Platform) -> None:
    path, etag = made(platform)
    sibling = f"{START_MS + 5}-0000-{PEER}"
    arrive(platform, path, sibling, etag[3:-1], active=True)
    own = put(platform, path, etag, gender="other")
    current = platform.call("GET", path).headers["etag"]
    assert current == f'W/"{sibling}"'
    body = patient(id=path.rpartition("/")[2], active=True, gender="other")
    headers = {"if-match": current, "merges": own.headers["etag"]}
    platform.dynamodb.tables[RECORDS][head_key(path)]["version"] = {"S": sibling}
    merged = platform.call("PUT", path, body, headers=headers)
    assert merged.status == 200, merged.body
    assert platform.versions()[-1]["merges"] == {"L": [{"S": own.json["meta"]["versionId"]}]}
    assert merged.json["meta"]["versionId"] > sibling
    shown = platform.call("GET", f"{path}/_history").json["entry"]
    assert [followed(entry) for entry in shown] == [
        [sibling, own.json["meta"]["versionId"]],
        [etag[3:-1]],
        [etag[3:-1]],
        [],
    ]


@pytest.mark.parametrize(
    ("merges", "status"),
    [
        ("x", 400),
        ("", 400),
        (f'W/"{START_MS}-0000-us-east-1", ', 400),
        (", ".join([f'W/"{START_MS}-0000-us-east-1"'] * 11), 400),
        ('W/"1"', 422),
        (f'W/"{START_MS}-0044-us-east-1"', 422),
    ],
)
def test_what_cannot_be_merged(platform: Platform, merges: str, status: int) -> None:
    path, etag = made(platform)
    body = patient(id=path.rpartition("/")[2])
    assert platform.call("PUT", path, body, headers={"if-match": etag, "merges": merges}).status == status
    assert len(platform.versions()) == 1


def test_a_patch_that_is_refused_has_still_looked_at_the_record(platform: Platform) -> None:
    path, etag = made(platform, birthDate="1970-05-02")
    for value in ("1970-05-02", "1971-01-01"):
        guess = {"op": "test", "path": "/birthDate", "value": value}
        assert patched(platform, path, etag, guess, {"op": "remove", "path": "/nothere"}).status == 422
    assert [item["status"] for item in platform.audit(action="U", outcome="refused")] == ["422", "422"]


def test_who_may_change_but_not_read_gets_no_record_back(platform: Platform) -> None:
    path, etag = made(platform)
    headers = {"if-match": etag, "content-type": PATCH}
    operations = [{"op": "add", "path": "/gender", "value": "other"}]
    reply = platform.call("PATCH", path, operations, headers=headers, authorizer=claims(scope="system/Patient.u"))
    assert (reply.status, reply.body) == (200, "")


def test_a_patch_cannot_make_a_record_that_no_body_could_bring(platform: Platform) -> None:
    path, etag = made(platform, address=[{"text": "x" * 200_000}])
    reply = patched(platform, path, etag, {"op": "add", "path": "/address/-", "value": {"text": "y" * 70_000}})
    assert (reply.status, outcome(reply.json)) == (413, "too-long")
    assert len(platform.versions()) == 1
