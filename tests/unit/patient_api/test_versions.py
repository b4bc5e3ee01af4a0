"""Reading, changing and deleting versions of a record."""

import pytest

from unit.patient_api.changes import PATCH, UNKNOWN, arrive, made, patched, put
from unit.patient_api.fakes import PEER, REGION, START_MS
from unit.patient_api.whole_api import Platform, claims, outcome, patient


def test_each_version_can_be_read(platform: Platform) -> None:
    path, etag = made(platform)
    second = put(platform, path, etag, active=True)
    first = platform.call("GET", f"{path}/_history/{etag[3:-1]}")
    assert (first.status, first.headers["etag"], "active" in first.json) == (200, etag, False)
    assert platform.call("GET", f"{path}/_history/{second.json['meta']['versionId']}").body == second.body


@pytest.mark.parametrize("vid", ["1", f"{START_MS}-0009-us-east-1", "Zubrowka"])
def test_unknown_version_returns_404(platform: Platform, vid: str) -> None:
    path, _ = made(platform)
    assert platform.call("GET", f"{path}/_history/{vid}").status == 404


def test_patch_changes_only_its_path(platform: Platform) -> None:
    path, etag = made(platform, gender="female")
    reply = patched(platform, path, etag, {"op": "replace", "path": "/gender", "value": "other"})
    assert (reply.status, reply.json["gender"], reply.json["name"]) == (200, "other", [{"family": "Example"}])
    assert platform.call("GET", path).body == reply.body
    assert platform.versions()[-1]["method"] == {"S": "PATCH"}


def test_patch_with_invalid_result_returns_422(platform: Platform) -> None:
    path, etag = made(platform)
    reply = patched(platform, path, etag, {"op": "add", "path": "/gender", "value": "Zubrowka"})
    assert (reply.status, reply.json["issue"][0]["expression"]) == (422, ["Patient.gender"])
    assert len(platform.versions()) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 200), ({"if-match": 'W/"1"'}, 412), ({"if-match": f'W/"{START_MS}-0009-us-east-1"'}, 412)],
)
def test_patch_with_stale_etag_returns_412(platform: Platform, headers: dict[str, str], status: int) -> None:
    path, _ = made(platform)
    reply = platform.call("PATCH", path, [], headers={"content-type": PATCH, **headers})
    assert reply.status == status


def test_patch_of_unknown_patient_returns_404(platform: Platform) -> None:
    etag = f'W/"{START_MS}-0000-us-east-1"'
    assert patched(platform, f"/fhir/Patient/{UNKNOWN}", etag).status == 404


def test_deleted_patient_returns_410_and_its_versions_remain(platform: Platform) -> None:
    path, etag = made(platform)
    deleted = platform.call("DELETE", path)
    assert (deleted.status, deleted.body) == (204, "")
    read = platform.call("GET", path)
    assert (read.status, outcome(read.json), read.headers["etag"]) == (410, "deleted", deleted.headers["etag"])
    assert platform.call("GET", f"{path}/_history/{etag[3:-1]}").status == 200
    assert platform.call("GET", f"{path}/_history/{deleted.headers['etag'][3:-1]}").status == 410
    assert patched(platform, path, deleted.headers["etag"]).status == 410
    assert [item["status"] for item in platform.audit(action="D")] == ["204"]


def test_delete_is_idempotent(platform: Platform) -> None:
    path, _ = made(platform)
    first, second = platform.call("DELETE", path), platform.call("DELETE", path)
    assert (second.status, second.headers["etag"]) == (204, first.headers["etag"])
    assert len(platform.versions()) == 2
    assert len(platform.audit(action="D")) == 2


def test_delete_with_stale_etag_returns_412(platform: Platform) -> None:
    path, etag = made(platform)
    assert platform.call("DELETE", path, headers={"if-match": 'W/"1"'}).status == 412
    assert platform.call("DELETE", path, headers={"if-match": etag}).status == 204
    assert platform.call("DELETE", f"/fhir/Patient/{UNKNOWN}").status == 404


def test_deleted_patient_can_be_written_again(platform: Platform) -> None:
    path, _ = made(platform)
    tombstone = platform.call("DELETE", path).headers["etag"]
    put(platform, path, tombstone, active=True)
    assert platform.call("GET", path).json["active"] is True


@pytest.mark.trap(1)
def test_version_from_the_other_region_is_read_before_the_head_follows(platform: Platform) -> None:
    path, etag = made(platform)
    arrive(platform, path, f"{START_MS + 5}-0000-{PEER}", etag[3:-1], active=True)
    assert platform.call("GET", path).json["active"] is True


def test_read_moves_the_clock_past_the_version(platform: Platform) -> None:
    path, etag = made(platform)
    arrive(platform, path, f"{START_MS + 900}-0007-{PEER}", etag[3:-1])
    assert platform.call("GET", path).status == 200
    assert platform.create().json["meta"]["versionId"] == f"{START_MS + 900}-0008-{REGION}"


def test_version_far_in_the_future_does_not_move_the_clock(platform: Platform) -> None:
    path, etag = made(platform)
    arrive(platform, path, f"{START_MS + 3_600_000}-0000-{PEER}", etag[3:-1])
    assert platform.call("GET", path).status == 200
    assert platform.create().json["meta"]["versionId"].startswith(str(START_MS))


def test_read_below_minimum_version_returns_503(platform: Platform) -> None:
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


def test_read_with_current_etag_returns_304(platform: Platform) -> None:
    path, etag = made(platform)
    reply = platform.call("GET", path, headers={"if-none-match": etag})
    assert (reply.status, reply.body, reply.headers["etag"]) == (304, "", etag)
    assert len(platform.audit(action="R")) == 1


def test_return_minimal_sends_no_body(platform: Platform) -> None:
    minimal = {"prefer": "respond-async, return=minimal"}
    reply = platform.call("POST", "/fhir/Patient", patient(), headers=minimal)
    assert (reply.status, reply.body, "content-type" in reply.headers) == (201, "", False)
    path, etag = reply.location, reply.headers["etag"]
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
def test_unsupported_media_type_returns_406(platform: Platform, accept: str, query: str, status: int) -> None:
    path, _ = made(platform)
    reply = platform.call("GET", path, headers={"accept": accept} if accept else {}, query=query)
    assert reply.status == status


def test_each_interaction_needs_its_own_scope(platform: Platform) -> None:
    path, etag = made(platform)
    only = {letter: claims(scope=f"system/Patient.{letter}") for letter in "cruds"}
    calls: dict[str, tuple[str, str, dict[str, str]]] = {
        "d": ("DELETE", path, {}),
        "u": ("PATCH", path, {"if-match": etag, "content-type": PATCH}),
        "r": ("GET", f"{path}/_history", {}),
    }
    for letter, (method, at, headers) in calls.items():
        for granted, authorizer in only.items():
            reply = platform.call(method, at, [] if method == "PATCH" else None, headers=headers, authorizer=authorizer)
            assert (reply.status == 403) is (granted != letter), (letter, granted, reply.body)
        path, etag = made(platform) if letter == "d" else (path, etag)
        calls["u"] = ("PATCH", path, {"if-match": etag, "content-type": PATCH})
        calls["r"] = ("GET", f"{path}/_history", {})


def test_rejected_patch_is_audited(platform: Platform) -> None:
    path, etag = made(platform, birthDate="1970-05-02")
    for value in ("1970-05-02", "1971-01-01"):
        guess = {"op": "test", "path": "/birthDate", "value": value}
        assert patched(platform, path, etag, guess, {"op": "remove", "path": "/nothere"}).status == 422
    assert [item["status"] for item in platform.audit(action="U", outcome="refused")] == ["422", "422"]


def test_patch_without_read_scope_returns_no_body(platform: Platform) -> None:
    path, etag = made(platform)
    headers = {"if-match": etag, "content-type": PATCH}
    operations = [{"op": "add", "path": "/gender", "value": "other"}]
    reply = platform.call("PATCH", path, operations, headers=headers, authorizer=claims(scope="system/Patient.u"))
    assert (reply.status, reply.body) == (200, "")


def test_patch_with_too_large_result_returns_413(platform: Platform) -> None:
    path, etag = made(platform, address=[{"text": "x" * 200_000}])
    reply = patched(platform, path, etag, {"op": "add", "path": "/address/-", "value": {"text": "y" * 70_000}})
    assert (reply.status, outcome(reply.json)) == (413, "too-long")
    assert len(platform.versions()) == 1
