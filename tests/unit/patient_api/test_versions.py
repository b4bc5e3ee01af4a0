"""Reading, changing and deleting versions of a record."""

import pytest

from unit.patient_api.fakes.api import UNKNOWN, Platform
from unit.patient_api.fakes.aws import PEER, REGION, START_MS

PATCH = "application/json-patch+json"


def test_each_version_can_be_read(platform: Platform) -> None:
    path, etag = platform.made()
    second = platform.put(path, etag, active=True)
    first = platform.call("GET", f"{path}/_history/{etag[3:-1]}")
    assert (first.status, first.headers["etag"], "active" in first.json) == (200, etag, False)
    assert platform.call("GET", f"{path}/_history/{second.json['meta']['versionId']}").body == second.body


@pytest.mark.parametrize("vid", ["1", f"{START_MS}-0009-us-east-1", "Zubrowka"])
def test_unknown_version_returns_404(platform: Platform, vid: str) -> None:
    path, _ = platform.made()
    assert platform.call("GET", f"{path}/_history/{vid}").status == 404


def test_patch_changes_only_its_path(platform: Platform) -> None:
    path, etag = platform.made(gender="female")
    reply = platform.patch(path, [{"op": "replace", "path": "/gender", "value": "other"}], {"if-match": etag})
    assert (reply.status, reply.json["gender"], reply.json["name"]) == (200, "other", [{"family": "Example"}])
    assert platform.call("GET", path).body == reply.body
    assert platform.versions()[-1]["method"] == {"S": "PATCH"}


def test_deleted_patient_returns_410_and_its_versions_remain(platform: Platform) -> None:
    path, etag = platform.made()
    deleted = platform.call("DELETE", path)
    assert (deleted.status, deleted.body) == (204, "")
    read = platform.call("GET", path)
    assert (*read.outcome, read.headers["etag"]) == (410, "deleted", deleted.headers["etag"])
    assert platform.call("GET", f"{path}/_history/{etag[3:-1]}").status == 200
    assert platform.call("GET", f"{path}/_history/{deleted.headers['etag'][3:-1]}").status == 410
    assert platform.patch(path, [], {"if-match": deleted.headers["etag"]}).status == 410
    assert [item["status"] for item in platform.audit(action="D")] == ["204"]


def test_delete_is_idempotent(platform: Platform) -> None:
    path, _ = platform.made()
    first, second = platform.call("DELETE", path), platform.call("DELETE", path)
    assert (second.status, second.headers["etag"]) == (204, first.headers["etag"])
    assert len(platform.versions()) == 2
    assert len(platform.audit(action="D")) == 2


def test_deleted_patient_can_be_written_again(platform: Platform) -> None:
    path, _ = platform.made()
    tombstone = platform.call("DELETE", path).headers["etag"]
    platform.put(path, tombstone, active=True)
    assert platform.call("GET", path).json["active"] is True


@pytest.mark.trap(1)
def test_version_from_the_other_region_is_read_before_the_head_follows(platform: Platform) -> None:
    path, etag = platform.made()
    platform.arrive(path, f"{START_MS + 5}-0000-{PEER}", etag[3:-1], active=True)
    assert platform.call("GET", path).json["active"] is True


def test_read_moves_the_clock_past_the_version(platform: Platform) -> None:
    path, etag = platform.made()
    platform.arrive(path, f"{START_MS + 900}-0007-{PEER}", etag[3:-1])
    assert platform.call("GET", path).status == 200
    assert platform.create().json["meta"]["versionId"] == f"{START_MS + 900}-0008-{REGION}"


def test_version_far_in_the_future_does_not_move_the_clock(platform: Platform) -> None:
    path, etag = platform.made()
    platform.arrive(path, f"{START_MS + 3_600_000}-0000-{PEER}", etag[3:-1])
    assert platform.call("GET", path).status == 200
    assert platform.create().json["meta"]["versionId"].startswith(str(START_MS))


def test_read_below_minimum_version_returns_503(platform: Platform) -> None:
    path, etag = platform.made()
    known = f"{START_MS + 5}-0000-{PEER}"
    early = platform.call("GET", path, headers={"minimum-version": f'W/"{known}"'})
    assert (*early.outcome, early.headers["retry-after"]) == (503, "transient", "1")
    platform.arrive(path, known, etag[3:-1], active=True)
    assert platform.call("GET", path, headers={"minimum-version": f'W/"{known}"'}).json["active"] is True
    assert platform.call("GET", path, headers={"minimum-version": etag}).status == 200
    assert platform.call("GET", path, headers={"minimum-version": 'W/"1"'}).status == 400
    unseen = platform.call("GET", f"/fhir/Patient/{UNKNOWN}", headers={"minimum-version": f'W/"{known}"'})
    assert unseen.status == 503


def test_rejected_patch_is_audited(platform: Platform) -> None:
    path, etag = platform.made(birthDate="1970-05-02")
    for value in ("1970-05-02", "1971-01-01"):
        guess = {"op": "test", "path": "/birthDate", "value": value}
        assert platform.patch(path, [guess, {"op": "remove", "path": "/nothere"}], {"if-match": etag}).status == 422
    assert [item["status"] for item in platform.audit(action="U", outcome="refused")] == ["422", "422"]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_change_of_unknown_patient_returns_404(platform: Platform, method: str) -> None:
    path = f"/fhir/Patient/{UNKNOWN}"
    assert platform.call(method, path, [], headers={"content-type": PATCH}).outcome == (404, "not-found")
