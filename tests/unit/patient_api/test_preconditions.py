"""Conditional requests, as RFC 9110 and FHIR R4 have them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from patient_api.errors import Malformed
from patient_api.http.preconditions import each
from unit.patient_api.changes import PATCH, UNKNOWN, made, put
from unit.patient_api.fakes import START_MS
from unit.patient_api.whole_api import Platform, Reply, outcome, patient

MERGE = "application/merge-patch+json"
STALE = f'W/"{START_MS - 5}-0000-us-east-1"'
WRITTEN = "Fri, 15 Jan 2027 08:00:00 GMT"
BEFORE = "Fri, 15 Jan 2027 07:59:59 GMT"
AFTER = "Friday, 15-Jan-27 08:00:01 GMT"


def update(platform: Platform, path: str, headers: Mapping[str, str] | None = None, **elements: Any) -> Reply:
    return platform.call("PUT", path, patient(id=path.rpartition("/")[2], **elements), headers=headers)


def merge(platform: Platform, path: str, changes: object, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return platform.call("PATCH", path, changes, headers={"content-type": MERGE, **named})


def interfere(platform: Platform, times: int, change: Callable[[], object]) -> None:
    """Make a change right before each of the next so many writes, as another caller would."""
    left = times

    def before(operation: str, _request: object) -> None:
        nonlocal left
        if operation == "transact_write_items" and left:
            left -= 1
            kept, platform.dynamodb.before = platform.dynamodb.before, lambda *_: None
            change()
            platform.dynamodb.before = kept

    platform.dynamodb.before = before


class TestVersionInTheBody:
    """`meta.versionId` is what clients send back that read a resource and save it."""

    def test_a_resource_as_it_was_read_is_a_precondition(self, platform: Platform) -> None:
        path, _ = made(platform)
        read = platform.call("GET", path).json
        assert platform.call("PUT", path, {**read, "gender": "other"}).status == 200
        again = platform.call("PUT", path, {**read, "gender": "male"})
        assert (again.status, outcome(again.json)) == (412, "conflict")
        assert platform.call("GET", path).json["gender"] == "other"

    def test_if_match_weighs_more(self, platform: Platform) -> None:
        path, etag = made(platform)
        assert update(platform, path, {"if-match": STALE}, meta={"versionId": etag[3:-1]}).status == 412
        assert update(platform, path, {"if-match": etag}, meta={"versionId": STALE[3:-1]}).status == 200

    def test_without_either_an_update_is_refused(self, platform: Platform) -> None:
        path, _ = made(platform)
        reply = update(platform, path)
        assert (reply.status, outcome(reply.json)) == (428, "required")
        # That there is such a record is known from the answer.
        assert [item["status"] for item in platform.audit(outcome="refused")] == ["428"]
        assert update(platform, path, meta={"tag": [{"code": "a"}]}).status == 428
        assert update(platform, path, meta={"versionId": "1"}).status == 412


@pytest.mark.parametrize("headers", [{}, {"if-match": STALE}, {"if-match": "*"}, {"if-none-match": "*"}])
def test_an_update_of_nothing_creates_nothing(platform: Platform, headers: dict[str, str]) -> None:
    reply = update(platform, f"/fhir/Patient/{UNKNOWN}", headers)
    assert (reply.status, outcome(reply.json)) == (405, "not-supported")
    assert "PUT" not in reply.headers["allow"].split(", ")
    assert not platform.versions()
    resource = platform.call("GET", "/fhir/metadata").json["rest"][0]["resource"]
    assert [each["updateCreate"] for each in resource] == [False, False, False]


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
    def test_tags_and_lists_and_any(self, platform: Platform, method: str, form: str, met: bool) -> None:
        path, etag = made(platform)
        headers = {"if-match": form.format(etag=etag, version=etag[3:-1], stale=STALE), "content-type": PATCH}
        if method == "PUT":
            headers["content-type"] = "application/json"
        bodies: dict[str, object] = {"PUT": patient(id=path.rpartition("/")[2]), "PATCH": []}
        reply = platform.call(method, path, bodies.get(method), headers=headers)
        assert reply.status == ((204 if method == "DELETE" else 200) if met else 412)
        assert len(platform.versions()) == (2 if met and method in {"PUT", "PATCH", "DELETE"} else 1)

    @pytest.mark.parametrize("value", ["", ",", "x", "W/1", 'w/"1"', '"1', '1"', '"1" "2"', '*, "1"', '"a b"', "'1'"])
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "GET"])
    def test_what_is_no_list_of_tags(self, platform: Platform, method: str, value: str) -> None:
        path, _ = made(platform)
        body = None if method in {"GET", "DELETE"} else patient(id=path.rpartition("/")[2])
        assert platform.call(method, path, body, headers={"if-match": value}).status in {400, 415}
        assert len(platform.versions()) == 1

    def test_any_is_no_deleted_record(self, platform: Platform) -> None:
        path, _ = made(platform)
        tombstone = platform.call("DELETE", path).headers["etag"]
        assert update(platform, path, {"if-match": "*"}).status == 412
        assert merge(platform, path, {}, if_match="*").status == 410
        # Its effect has come about already.
        assert platform.call("DELETE", path, headers={"if-match": "*"}).status == 204
        assert update(platform, path, {"if-match": f"{STALE}, {tombstone}"}).status == 200

    @pytest.mark.parametrize(("times", "status"), [(1, 200), (2, 200), (3, 409)])
    def test_any_is_tried_again_a_few_times(self, platform: Platform, times: int, status: int) -> None:
        path, _ = made(platform)
        interfere(platform, times, lambda: put(platform, path, platform.call("GET", path).headers["etag"], active=True))
        reply = update(platform, path, {"if-match": "*"}, gender="other")
        assert reply.status == status
        assert len(platform.versions()) == 1 + times + (status == 200)

    def test_a_list_is_tried_again_only_for_what_it_names(self, platform: Platform) -> None:
        path, etag = made(platform)
        interfere(platform, 1, lambda: put(platform, path, etag, active=True))
        assert update(platform, path, {"if-match": f"{STALE}, {etag}"}, gender="other").status == 412


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
    def test_what_the_caller_has_is_not_sent_again(
        self, platform: Platform, method: str, form: str, status: int
    ) -> None:
        path, etag = made(platform)
        headers = {"if-none-match": form.format(etag=etag, version=etag[3:-1])}
        for at in (path, f"{path}/_history/{etag[3:-1]}"):
            reply = platform.call(method, at, headers=headers)
            assert (reply.status, reply.headers["etag"]) == (status, etag)
            assert ("content-type" in reply.headers) is (status == 200)

    @pytest.mark.parametrize("form", ["*", "{etag}", '"{version}"', '"1", {etag}'])
    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    def test_a_write_that_is_not_for_this_version(self, platform: Platform, method: str, form: str) -> None:
        path, etag = made(platform)
        unmet = {"if-none-match": form.format(etag=etag, version=etag[3:-1]), "if-match": etag}
        kind = PATCH if method == "PATCH" else "application/json"
        bodies: dict[str, object] = {"PUT": patient(id=path.rpartition("/")[2]), "PATCH": []}
        body = bodies.get(method)
        assert platform.call(method, path, body, headers={**unmet, "content-type": kind}).status == 412
        assert len(platform.versions()) == 1
        met = {"if-none-match": STALE, "if-match": etag, "content-type": kind}
        assert platform.call(method, path, body, headers=met).status in {200, 204}

    def test_a_write_cannot_be_for_what_nobody_understands(self, platform: Platform) -> None:
        path, etag = made(platform)
        assert update(platform, path, {"if-match": etag, "if-none-match": "x"}).status == 400


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
            # What is no HTTP-date is ignored, above all where a date can be made out in it.
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
    def test_a_read(self, platform: Platform, headers: dict[str, str], status: int) -> None:
        path, etag = made(platform)
        assert platform.call("GET", path, headers=headers).status == status
        if "if-unmodified-since" in headers:
            assert platform.call("GET", path, headers={**headers, "if-match": etag}).status == 200

    def test_the_first_of_two_versions_in_a_second_is_not_taken_for_the_last(self, platform: Platform) -> None:
        path, etag = made(platform)
        platform.now_ms += 1
        second = put(platform, path, etag, active=True)
        assert second.headers["last-modified"] == WRITTEN
        assert platform.call("GET", path, headers={"if-modified-since": WRITTEN}).status == 200
        assert platform.call("GET", path, headers={"if-modified-since": AFTER}).status == 304

    def test_two_digits_of_a_year_are_at_most_50_years_ahead(self, platform: Platform) -> None:
        path, _ = made(platform)
        now = datetime.now(UTC).year
        for year in range(now - 49, now + 51):
            since = f"Friday, 15-Jan-{year % 100:02d} 08:00:01 GMT"
            reply = platform.call("GET", path, headers={"if-modified-since": since})
            assert reply.status == (304 if year >= 2027 else 200), year

    @pytest.mark.parametrize("method", ["PATCH", "DELETE"])
    def test_a_write(self, platform: Platform, method: str) -> None:
        path, _ = made(platform)
        body: object = {} if method == "PATCH" else None
        headers = {"content-type": MERGE, "if-modified-since": AFTER}
        assert platform.call(method, path, body, headers={**headers, "if-unmodified-since": BEFORE}).status == 412
        assert platform.call(method, path, body, headers={**headers, "if-unmodified-since": WRITTEN}).status < 300

    def test_a_date_alone_is_no_precondition_of_an_update(self, platform: Platform) -> None:
        path, etag = made(platform)
        assert update(platform, path, {"if-unmodified-since": AFTER}).status == 428
        assert update(platform, path, {"if-unmodified-since": BEFORE}, meta={"versionId": etag[3:-1]}).status == 200


class TestPatchWithoutPrecondition:
    @pytest.mark.parametrize(("times", "status"), [(1, 200), (2, 200), (3, 409)])
    @pytest.mark.parametrize("kind", [PATCH, MERGE, "application/json"])
    def test_it_is_applied_to_what_is_current(self, platform: Platform, kind: str, times: int, status: int) -> None:
        path, _ = made(platform, gender="female")
        count = 0

        def other() -> None:
            nonlocal count
            count += 1
            put(platform, path, platform.call("GET", path).headers["etag"], multipleBirthInteger=count)

        interfere(platform, times, other)
        changes: object = {"active": True}
        if kind == PATCH:
            changes = [{"op": "add", "path": "/active", "value": True}]
        reply = platform.call("PATCH", path, changes, headers={"content-type": kind})
        assert reply.status == status
        now = platform.call("GET", path).json
        assert (now["multipleBirthInteger"], now.get("active")) == (times, True if status == 200 else None)
        followed = [item["replaces"]["S"] for item in platform.versions() if "replaces" in item]
        assert len(set(followed)) == len(followed)

    def test_one_that_names_a_version_is_not_repeated(self, platform: Platform) -> None:
        path, etag = made(platform)
        interfere(platform, 1, lambda: put(platform, path, etag, active=False))
        assert merge(platform, path, {"active": True}, if_match=etag).status == 412
        assert platform.call("GET", path).json["active"] is False

    def test_the_version_in_a_merge_patch_counts(self, platform: Platform) -> None:
        path, etag = made(platform)
        read = platform.call("GET", path).json
        second = put(platform, path, etag, active=True)
        assert merge(platform, path, {"meta": read["meta"], "active": False}).status == 412
        assert merge(platform, path, {"meta": second.json["meta"], "active": False}).status == 200


def test_a_patched_number_keeps_its_digits(platform: Platform) -> None:
    path, _ = made(platform)
    changes = '{"extension":[{"url":"urn:x","valueDecimal":1.10}]}'
    assert '"valueDecimal":1.10' in merge(platform, path, changes).body


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('W/"1"', ["1"]),
        ('"1",W/"2"', ["1", "2"]),
        (' , "a,\\b" ,\t,"" ', ["a,\\b", ""]),
        ('"é"', ["é"]),
    ],
)
def test_a_list_of_tags(value: str, found: list[str]) -> None:
    assert list(each(value, "Merges")) == found


@pytest.mark.timeout(5)
def test_a_long_list_is_read_in_time() -> None:
    assert len(each(json.dumps("x" * 50) + ',"a"' * 20_000, "If-Match")) == 20_001
    with pytest.raises(Malformed):
        each(" \t," * 20_000 + "x", "If-Match")
