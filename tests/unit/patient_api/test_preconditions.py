"""Conditional requests (RFC 9110, FHIR R4)."""

import json
from datetime import UTC, datetime

import pytest

from patient_api.errors import Malformed
from patient_api.http.preconditions import each
from unit.patient_api.fakes.api import UNKNOWN, Platform, Reply, claims, id_of, patient
from unit.patient_api.fakes.aws import START_MS

JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
STALE = f'W/"{START_MS - 5}-0000-us-east-1"'
WRITTEN = "Fri, 15 Jan 2027 08:00:00 GMT"
BEFORE = "Fri, 15 Jan 2027 07:59:59 GMT"
AFTER = "Friday, 15-Jan-27 08:00:01 GMT"
RETRIES = pytest.mark.parametrize(("times", "status"), [(1, 200), (2, 200), (3, 409)])


def call(platform: Platform, method: str, path: str, headers: dict[str, str]) -> Reply:
    """Send a request with a valid body of its method."""
    bodies: dict[str, object] = {"PUT": patient(id=id_of(path)), "PATCH": []}
    kind = JSON_PATCH if method == "PATCH" else "application/json"
    return platform.call(method, path, bodies.get(method), headers={"content-type": kind, **headers})


class TestUnsupportedPrecondition:
    def test_refusal_changes_nothing(self, platform: Platform) -> None:
        path, etag = platform.made()
        headers = {"if-match": etag, "merges": etag}
        assert platform.patch(path, [], headers).outcome == (400, "structure")
        refused = platform.patch(path, [], headers, authorizer=claims(scope="system/Patient.r"))
        assert refused.outcome == (403, "forbidden")
        assert len(platform.versions()) == 1


class TestVersionInTheBody:
    def test_resource_as_read_is_a_precondition(self, platform: Platform) -> None:
        path, _ = platform.made()
        read = platform.call("GET", path).json
        assert platform.call("PUT", path, {**read, "gender": "other"}).status == 200
        assert platform.call("PUT", path, {**read, "gender": "male"}).outcome == (412, "conflict")
        assert platform.call("GET", path).json["gender"] == "other"

    def test_if_match_takes_precedence(self, platform: Platform) -> None:
        path, etag = platform.made()
        assert platform.update(path, {"if-match": STALE}, meta={"versionId": etag[3:-1]}).status == 412
        assert platform.update(path, {"if-match": etag}, meta={"versionId": STALE[3:-1]}).status == 200

    def test_update_without_precondition_returns_428(self, platform: Platform) -> None:
        path, _ = platform.made()
        assert platform.update(path).outcome == (428, "required")
        # The response discloses that the record exists.
        assert [item["status"] for item in platform.audit(outcome="refused")] == ["428"]
        assert platform.update(path, meta={"tag": [{"code": "a"}]}).status == 428
        assert platform.update(path, meta={"versionId": "1"}).status == 412


@pytest.mark.parametrize("headers", [{}, {"if-match": STALE}, {"if-match": "*"}, {"if-none-match": "*"}])
def test_update_of_unknown_record_returns_405(platform: Platform, headers: dict[str, str]) -> None:
    reply = platform.update(f"/fhir/Patient/{UNKNOWN}", headers)
    assert reply.outcome == (405, "not-supported")
    assert reply.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert not platform.records
    assert [item["status"] for item in platform.audit(outcome="refused")] == ["405"]


class TestIfMatch:
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "GET", "HEAD"])
    @pytest.mark.parametrize(
        ("form", "met"),
        [
            ("{etag}", True),
            ('"{version}"', True),
            ("*", True),
            (" * ", True),
            ('{stale}, "{version}"', True),
            ('"a,b",{stale},, "{version}" ,', True),
            ("{stale}", False),
            ('"1"', False),
            ('""', False),
            ('"W/{version}"', False),
            ('{stale}, "*"', False),
            ('"{version}x"', False),
        ],
    )
    def test_lists_of_tags_are_compared(self, platform: Platform, method: str, form: str, met: bool) -> None:
        path, etag = platform.made()
        headers = {"if-match": form.format(etag=etag, version=etag[3:-1], stale=STALE)}
        assert call(platform, method, path, headers).status == ((204 if method == "DELETE" else 200) if met else 412)
        assert len(platform.versions()) == (2 if met and method in {"PUT", "PATCH", "DELETE"} else 1)

    @pytest.mark.parametrize(
        "value", ["", ",", ", ,", "x", "W/1", 'w/"1"', '"1', '1"', '"1" "2"', '*, "1"', 'W/"a b"', "'1'"]
    )
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "GET"])
    def test_invalid_list_of_tags_returns_400(self, platform: Platform, method: str, value: str) -> None:
        path, _ = platform.made()
        assert call(platform, method, path, {"if-match": value}).status == 400
        assert len(platform.versions()) == 1

    def test_asterisk_does_not_match_a_deleted_record(self, platform: Platform) -> None:
        path, _ = platform.made()
        tombstone = platform.call("DELETE", path).headers["etag"]
        assert platform.update(path, {"if-match": "*"}).status == 412
        assert platform.patch(path, {}, {"if-match": "*"}).status == 410
        # The record is already in the requested state.
        assert platform.call("DELETE", path, headers={"if-match": "*"}).status == 204
        assert platform.update(path, {"if-match": f"{STALE}, {tombstone}"}).status == 200

    @RETRIES
    def test_update_with_asterisk_is_retried(self, platform: Platform, times: int, status: int) -> None:
        path, _ = platform.made()
        platform.before_writes(times, lambda: platform.update(path, {"if-match": "*"}, active=True))
        assert platform.update(path, {"if-match": "*"}, gender="other").status == status
        assert len(platform.versions()) == 1 + times + (status == 200)

    def test_update_with_list_is_not_retried_for_another_version(self, platform: Platform) -> None:
        path, etag = platform.made()
        platform.before_writes(1, lambda: platform.put(path, etag, active=True))
        assert platform.update(path, {"if-match": f"{STALE}, {etag}"}, gender="other").status == 412


class TestIfNoneMatch:
    @pytest.mark.parametrize(
        ("form", "status"),
        [
            ("{etag}", 304),
            ('"{version}"', 304),
            ("*", 304),
            ('"1", {etag}', 304),
            ('"a,b" , "{version}",', 304),
            ('"1"', 200),
            ("{version}", 200),
            ("", 200),
            ("garbage", 200),
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_read_of_known_version_returns_304(self, platform: Platform, method: str, form: str, status: int) -> None:
        path, etag = platform.made()
        headers = {"if-none-match": form.format(etag=etag, version=etag[3:-1])}
        for at in (path, f"{path}/_history/{etag[3:-1]}"):
            reply = platform.call(method, at, headers=headers)
            assert (reply.status, reply.headers["etag"]) == (status, etag)
            assert ("content-type" in reply.headers) is (status == 200)
            assert bool(reply.body) is (status == 200 and method == "GET")
        assert len(platform.audit(action="R")) == 2

    @pytest.mark.parametrize("form", ["*", "{etag}", '"{version}"', '"1", {etag}'])
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    def test_write_of_excluded_version_returns_412(self, platform: Platform, method: str, form: str) -> None:
        path, etag = platform.made()
        unmet = form.format(etag=etag, version=etag[3:-1])
        assert call(platform, method, path, {"if-match": etag, "if-none-match": unmet}).status == 412
        assert len(platform.versions()) == 1
        assert call(platform, method, path, {"if-match": etag, "if-none-match": STALE}).status in {200, 204}

    def test_write_with_invalid_header_returns_400(self, platform: Platform) -> None:
        path, etag = platform.made()
        assert platform.update(path, {"if-match": etag, "if-none-match": "x"}).status == 400


class TestDates:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"if-modified-since": WRITTEN}, 304),
            ({"if-modified-since": AFTER}, 304),
            ({"if-modified-since": "Fri Jan 15 08:00:00 2027"}, 304),
            ({"if-modified-since": BEFORE}, 200),
            ({"if-modified-since": "yesterday"}, 200),
            ({"if-modified-since": "Fri, 15 Jan 2027 07:59:60 GMT"}, 304),
            ({"if-modified-since": "Fri Jan  1 08:00:00 2027"}, 200),
            ({"if-modified-since": "Mon Feb  1 08:00:00 2027"}, 304),
            ({"if-modified-since": "Fri, 31 Dec 9999 23:59:59 GMT"}, 304),
            # An invalid HTTP-date is ignored, even if it contains a date.
            ({"if-modified-since": f"{AFTER}, {AFTER}"}, 200),
            ({"if-modified-since": "Fri, 15 Jan 2027 08:00:00"}, 200),
            ({"if-modified-since": "Fri, 15 Jan 2027 08:00:00 +0000"}, 200),
            ({"if-modified-since": "Fri, 15 Jan 2027 08:00:00 -99999999999999"}, 200),
            ({"if-modified-since": "Fri, 99 Jan 2027 08:00:00 GMT"}, 200),
            ({"if-modified-since": "Fri, 31 Feb 2028 08:00:00 GMT"}, 200),
            ({"if-modified-since": "Fri, 15 Jan 0000 08:00:00 GMT"}, 200),
            ({"if-modified-since": "2027-01-15T08:00:00Z"}, 200),
            ({"if-modified-since": "1800000000"}, 200),
            ({"if-unmodified-since": f"{BEFORE}, {BEFORE}"}, 200),
            ({"if-unmodified-since": "Fri, 15 Jan 1999 08:00:00 -99999999999999"}, 200),
            ({"if-modified-since": WRITTEN, "if-none-match": '"1"'}, 200),
            ({"if-unmodified-since": WRITTEN}, 200),
            ({"if-unmodified-since": BEFORE}, 412),
            ({"if-unmodified-since": ""}, 200),
        ],
    )
    def test_read_compares_valid_dates(self, platform: Platform, headers: dict[str, str], status: int) -> None:
        path, etag = platform.made()
        assert platform.call("GET", path, headers=headers).status == status
        if "if-unmodified-since" in headers:
            assert platform.call("GET", path, headers={**headers, "if-match": etag}).status == 200

    def test_second_version_within_a_second_is_returned(self, platform: Platform) -> None:
        path, etag = platform.made()
        platform.now_ms += 1
        second = platform.put(path, etag, active=True)
        assert second.headers["last-modified"] == WRITTEN
        assert platform.call("GET", path, headers={"if-modified-since": WRITTEN}).status == 200
        assert platform.call("GET", path, headers={"if-modified-since": AFTER}).status == 304

    def test_year_of_two_digits_is_at_most_50_years_ahead(self, platform: Platform) -> None:
        path, _ = platform.made()
        now = datetime.now(UTC).year
        for year in range(now - 49, now + 51):
            since = f"Friday, 15-Jan-{year % 100:02d} 08:00:01 GMT"
            reply = platform.call("GET", path, headers={"if-modified-since": since})
            assert reply.status == (304 if year >= 2027 else 200), year

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_write_compares_if_unmodified_since(self, platform: Platform, method: str) -> None:
        path, _ = platform.made()
        headers = {"if-modified-since": AFTER}
        assert call(platform, method, path, {**headers, "if-unmodified-since": BEFORE}).status == 412
        assert call(platform, method, path, {**headers, "if-unmodified-since": WRITTEN}).status < 300

    def test_date_alone_is_no_precondition_of_an_update(self, platform: Platform) -> None:
        path, etag = platform.made()
        assert platform.update(path, {"if-unmodified-since": AFTER}).status == 428
        # Only If-Match takes precedence over the date, and not the version in the body.
        assert platform.update(path, {"if-unmodified-since": BEFORE}, meta={"versionId": etag[3:-1]}).status == 412
        assert platform.update(path, {"if-unmodified-since": AFTER}, meta={"versionId": etag[3:-1]}).status == 200


class TestPatch:
    @RETRIES
    @pytest.mark.parametrize("kind", [JSON_PATCH, MERGE_PATCH, "application/json"])
    def test_patch_without_precondition_is_retried(
        self, platform: Platform, kind: str, times: int, status: int
    ) -> None:
        path, _ = platform.made(gender="female")
        numbers = iter(range(1, 9))
        platform.before_writes(
            times, lambda: platform.update(path, {"if-match": "*"}, multipleBirthInteger=next(numbers))
        )
        changes: object = [{"op": "add", "path": "/active", "value": True}] if kind == JSON_PATCH else {"active": True}
        assert platform.patch(path, changes, {"content-type": kind}).status == status
        now = platform.call("GET", path).json
        assert (now["multipleBirthInteger"], now.get("active")) == (times, True if status == 200 else None)
        followed = [item["replaces"]["S"] for item in platform.versions() if "replaces" in item]
        assert len(set(followed)) == len(followed)

    def test_patch_of_named_version_is_not_retried(self, platform: Platform) -> None:
        path, etag = platform.made()
        platform.before_writes(1, lambda: platform.put(path, etag, active=False))
        assert platform.patch(path, {"active": True}, {"if-match": etag}).status == 412
        assert platform.call("GET", path).json["active"] is False

    def test_version_in_merge_patch_is_a_precondition(self, platform: Platform) -> None:
        path, etag = platform.made()
        read = platform.call("GET", path).json
        second = platform.put(path, etag, active=True)
        assert platform.patch(path, {"meta": read["meta"], "active": False}).status == 412
        assert platform.patch(path, {"meta": second.json["meta"], "active": False}).status == 200


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('W/"1"', ["1"]),
        ('"1",W/"2"', ["1", "2"]),
        (' , "a,\\b" ,\t,"" ', ["a,\\b", ""]),
        ('"é"', ["é"]),
    ],
)
def test_list_of_tags_is_parsed(value: str, found: list[str]) -> None:
    assert list(each(value, "Merges")) == found


@pytest.mark.timeout(5)
def test_long_list_is_parsed_in_limited_time() -> None:
    assert len(each(json.dumps("x" * 50) + ',"a"' * 20_000, "If-Match")) == 20_001
    with pytest.raises(Malformed):
        each(" \t," * 20_000 + "x", "If-Match")
