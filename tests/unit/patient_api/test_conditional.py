"""Requests that name a record by search criteria in their URL."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from unit.patient_api.changes import UNKNOWN
from unit.patient_api.fakes import START_MS, client_error
from unit.patient_api.test_preconditions import interfere
from unit.patient_api.whole_api import Platform, Reply, claims, outcome, patient

MERGE = "application/merge-patch+json"
STALE = f"{START_MS - 5}-0000-us-east-1"
CHANGES = ["PUT", "PATCH", "DELETE"]


def identified(value: str = "1", **elements: Any) -> dict[str, Any]:
    return patient(identifier=[{"system": "urn:mrn", "value": value}], **elements)


def by(value: str = "1") -> str:
    return f"identifier=urn:mrn%7C{value}"


def change(platform: Platform, method: str, query: str = by(), **parts: Any) -> Reply:
    """A conditional request that says that the patient is of another gender."""
    headers = parts.pop("headers", {})
    if method == "PATCH":
        headers = {"content-type": MERGE, **headers}
    bodies = {"PUT": identified(gender="other"), "PATCH": {"gender": "other"}}
    body = parts.pop("body", bodies.get(method))
    return platform.call(method, "/fhir/Patient", body, query=query, headers=headers, **parts)


def current(platform: Platform, created: Reply) -> Reply:
    return platform.call("GET", created.location)


def trail(platform: Platform, **wanted: str) -> list[tuple[str, str, str, str]]:
    """Action, interaction, record and status of the events, but for those of creations and reads by the test."""
    kept = platform.audit(**wanted)
    return [
        (item["action"], item["interaction"], item["record"].partition("#")[2], item["status"])
        for item in sorted(kept, key=lambda item: item["at"])
        if item["interaction"] not in {"create", "read"}
    ]


class TestCreate:
    """Criteria in the URL of a create are those of an If-None-Exist."""

    def test_nothing_matches(self, platform: Platform) -> None:
        platform.create(identified("2"))
        reply = platform.call("POST", "/fhir/Patient", identified(), query=by())
        assert reply.status == 201
        assert len(platform.versions()) == 2

    def test_one_matches(self, platform: Platform) -> None:
        first = platform.create(identified())
        again = platform.call("POST", "/fhir/Patient", identified(gender="male"), query=f"{by()}&_format=json")
        assert (again.status, again.body) == (200, first.body)
        assert len(platform.versions()) == 1
        assert [item["record"] for item in platform.audit(action="R")] == [f"north-clinic#Patient/{first.json['id']}"]

    def test_several_match(self, platform: Platform) -> None:
        platform.create(identified())
        platform.create(identified())
        reply = platform.call("POST", "/fhir/Patient", identified(), query=by())
        assert (reply.status, outcome(reply.json)) == (412, "conflict")
        assert "the URL" in reply.body
        assert "If-None-Exist" not in reply.body
        header = platform.call("POST", "/fhir/Patient", identified(), headers={"if-none-exist": by()})
        assert (header.status, "If-None-Exist" in header.body) == (412, True)
        assert [item["status"] for item in platform.audit(outcome="refused")] == ["412", "412"]

    @pytest.mark.parametrize("headers", [{"if-none-exist": by()}, {"if-none-exist": by("2")}, {"idempotency-key": "k"}])
    def test_one_way_at_a_time(self, platform: Platform, headers: dict[str, str]) -> None:
        reply = platform.call("POST", "/fhir/Patient", identified(), query=by(), headers=headers)
        assert (reply.status, "in the URL" in reply.body) == (400, True)
        assert not platform.versions()

    def test_the_same_criteria_are_the_same_record_wherever_they_stand(self, platform: Platform) -> None:
        criteria = "family=Example&identifier=urn:mrn|1"
        other = "identifier=urn%3Amrn%7C1&_pretty=true&family=Example"
        header, url, update = Platform(), platform, Platform()
        ids = {
            header.create(identified(), headers={"if-none-exist": criteria}).json["id"],
            url.create(identified(), query=other).json["id"],
            change(update, "PUT", other).json["id"],
        }
        assert len(ids) == 1
        for one in (header, update):
            one.close()

    def test_documents_have_none(self, platform: Platform) -> None:
        reply = platform.call("POST", "/fhir/DocumentReference", {"resourceType": "DocumentReference"}, query="_id=1")
        assert reply.status == 400


class TestUpdate:
    def test_nothing_matches(self, platform: Platform) -> None:
        reply = change(platform, "PUT")
        assert reply.status == 201
        assert reply.location == f"/fhir/Patient/{reply.json['id']}"
        assert current(platform, reply).body == reply.body
        assert trail(platform) == [("C", "update", f"Patient/{reply.json['id']}", "201")]

    def test_one_matches(self, platform: Platform) -> None:
        platform.create(identified("2"))
        first = platform.create(identified())
        reply = change(platform, "PUT")
        assert (reply.status, reply.json["id"], reply.json["gender"]) == (200, first.json["id"], "other")
        assert "location" not in reply.headers
        assert current(platform, first).headers["etag"] == reply.headers["etag"] != first.headers["etag"]
        assert trail(platform) == [("U", "update", f"Patient/{first.json['id']}", "200")]
        assert [item["version"] for item in platform.audit(action="U")] == [reply.headers["etag"][3:-1]]

    def test_what_the_caller_prefers(self, platform: Platform) -> None:
        platform.create(identified())
        reply = change(platform, "PUT", headers={"prefer": "return=minimal"})
        assert (reply.status, reply.body) == (200, "")

    def test_the_id_in_the_body_is_that_of_the_record(self, platform: Platform) -> None:
        first = platform.create(identified())
        wrong = change(platform, "PUT", body=identified(id=UNKNOWN))
        assert (wrong.status, wrong.json["issue"][0]["expression"]) == (400, ["Patient.id"])
        assert trail(platform, outcome="refused") == [("U", "update", f"Patient/{first.json['id']}", "400")]
        assert change(platform, "PUT", body=identified(id=first.json["id"])).status == 200

    def test_nothing_is_created_under_an_id_of_the_client(self, platform: Platform) -> None:
        reply = change(platform, "PUT", body=identified(id=UNKNOWN))
        assert (reply.status, outcome(reply.json)) == (405, "not-supported")
        assert not platform.versions()
        assert trail(platform, outcome="refused") == [("U", "update", "Patient", "405")]

    def test_merges_are_for_updates_by_id(self, platform: Platform) -> None:
        platform.create(identified())
        assert change(platform, "PUT", headers={"merges": f'W/"{STALE}"'}).status == 400
        assert len(platform.versions()) == 1

    def test_creating_needs_its_own_right(self, platform: Platform) -> None:
        refused = change(platform, "PUT", authorizer=claims(scope="system/Patient.rus"))
        assert (refused.status, outcome(refused.json)) == (403, "forbidden")
        assert trail(platform, outcome="refused") == [("U", "update", "Patient", "403")]
        assert not platform.versions()
        assert change(platform, "PUT", authorizer=claims(scope="system/Patient.crus")).status == 201
        assert change(platform, "PUT", authorizer=claims(scope="system/Patient.rus")).status == 200

    def test_two_that_create_at_once_create_one_record(self, platform: Platform) -> None:
        others: list[Reply] = []

        def other() -> None:
            others.append(change(platform, "PUT", body=identified(gender="male")))

        interfere(platform, 1, other)
        reply = change(platform, "PUT")
        assert [others[0].status, reply.status] == [201, 200]
        assert reply.json["id"] == others[0].json["id"]
        assert [item["resource"]["S"].count('"other"') for item in platform.versions()] == [0, 1]

    def test_a_creation_and_an_update_at_once_make_one_record(self, platform: Platform) -> None:
        interfere(platform, 1, lambda: platform.create(identified(), headers={"if-none-exist": by()}))
        assert change(platform, "PUT").status == 200
        assert len({item["pk"]["S"] for item in platform.versions()}) == 1

    @pytest.mark.trap(2)
    def test_two_regions_that_create_at_once_create_one_record(self, platform: Platform) -> None:
        other = Platform()
        assert change(platform, "PUT").json["id"] == change(other, "PUT").json["id"]
        other.close()

    def test_who_no_longer_matches_is_somebody_else(self, platform: Platform) -> None:
        first = change(platform, "PUT")
        assert platform.call("PUT", first.location, {**first.json, **identified("2")}).status == 200
        second = change(platform, "PUT")
        assert (second.status, second.json["id"] != first.json["id"]) == (201, True)

    def test_a_deleted_patient_is_nobody(self, platform: Platform) -> None:
        first = change(platform, "PUT")
        assert platform.call("DELETE", first.location).status == 204
        second = change(platform, "PUT")
        assert (second.status, second.json["id"] != first.json["id"]) == (201, True)


class TestPatch:
    def test_nothing_matches(self, platform: Platform) -> None:
        reply = change(platform, "PATCH")
        assert (reply.status, outcome(reply.json)) == (404, "not-found")
        assert trail(platform) == [("U", "patch", "Patient", "404")]

    @pytest.mark.parametrize(
        ("media_type", "body"),
        [
            (MERGE, {"gender": "other"}),
            ("application/json", {"gender": "other"}),
            ("application/json-patch+json", [{"op": "add", "path": "/gender", "value": "other"}]),
        ],
    )
    def test_one_matches(self, platform: Platform, media_type: str, body: object) -> None:
        first = platform.create(identified(birthDate="1970-05-02"))
        reply = change(platform, "PATCH", body=body, headers={"content-type": media_type})
        assert reply.status == 200
        assert {"gender": "other", "birthDate": "1970-05-02"}.items() <= reply.json.items()
        assert reply.json["id"] == first.json["id"]
        assert trail(platform) == [("U", "patch", f"Patient/{first.json['id']}", "200")]

    def test_a_patch_that_fails_is_on_record_with_its_record(self, platform: Platform) -> None:
        first = platform.create(identified())
        assert change(platform, "PATCH", body={"gender": "x"}).status == 422
        assert trail(platform) == [("U", "patch", f"Patient/{first.json['id']}", "422")]
        assert len(platform.versions()) == 1

    def test_a_media_type_that_is_none_of_a_patch(self, platform: Platform) -> None:
        reply = change(platform, "PATCH", headers={"content-type": "text/plain"})
        assert (reply.status, "application/merge-patch+json" in reply.headers["accept-patch"]) == (415, True)


class TestDelete:
    def test_nothing_matches(self, platform: Platform) -> None:
        platform.create(identified("2"))
        assert change(platform, "DELETE").status == 404
        assert trail(platform) == [("D", "delete", "Patient", "404")]
        assert len(platform.versions()) == 1

    def test_one_matches(self, platform: Platform) -> None:
        other, first = platform.create(identified("2")), platform.create(identified())
        reply = change(platform, "DELETE")
        assert (reply.status, reply.body) == (204, "")
        assert [current(platform, one).status for one in (other, first)] == [200, 410]
        assert trail(platform) == [("D", "delete", f"Patient/{first.json['id']}", "204")]
        assert change(platform, "DELETE").status == 404


@pytest.mark.parametrize("method", CHANGES)
class TestChange:
    """What holds of each of them."""

    def test_several_match(self, platform: Platform, method: str) -> None:
        made = [platform.create(identified()) for _ in range(3)]
        reply = change(platform, method)
        assert (reply.status, outcome(reply.json)) == (412, "conflict")
        assert "the URL" in reply.body
        assert [current(platform, one).status for one in made] == [200, 200, 200]
        assert len(platform.versions()) == 3
        ((_, _, record, status),) = trail(platform, outcome="refused")
        assert (record, status) == ("Patient", "412")

    @pytest.mark.parametrize(
        "query", ["", "_format=json", "&", "_pretty=true&_format=application/fhir%2Bjson", "=", "x"]
    )
    def test_without_criteria_nothing_is_changed(self, platform: Platform, method: str, query: str) -> None:
        first = platform.create(identified())
        reply = change(platform, method, query)
        assert (reply.status, outcome(reply.json)) == (400, "structure")
        assert current(platform, first).body == first.body
        assert not trail(platform)

    @pytest.mark.parametrize(
        "control",
        ["_count=1", "_sort=_lastUpdated", "_summary=count", "_total=accurate", "_totalMethod=count", "_cursor=x"],
    )
    @pytest.mark.parametrize("form", ["{control}", "{by}&{control}"])
    def test_controls_of_a_search_are_refused(self, platform: Platform, method: str, control: str, form: str) -> None:
        platform.create(identified())
        reply = change(platform, method, form.format(control=control, by=by()))
        assert (reply.status, "the URL" in reply.body) == (400, True)
        assert len(platform.versions()) == 1

    @pytest.mark.parametrize(
        "criteria", ["gender=female", "shoe=42", "identifier=", "name:exact=x", "_has:Observation:patient:code=1"]
    )
    def test_criteria_that_are_not_understood_or_not_consistent(
        self, platform: Platform, method: str, criteria: str
    ) -> None:
        platform.create(identified(gender="female"))
        for query in (criteria, f"{by()}&{criteria}" if criteria != "gender=female" else criteria):
            reply = change(platform, method, query, headers={"prefer": "handling=lenient"})
            assert reply.status == 400
            assert "_count" not in reply.body
        assert len(platform.versions()) == 1

    def test_each_criterion_has_to_match(self, platform: Platform, method: str) -> None:
        platform.create(identified())
        missed = change(platform, method, f"{by()}&family=Nobody")
        assert missed.status == (201 if method == "PUT" else 404)
        assert change(platform, method, f"{by()}&family=Example&identifier=urn:mrn%7C2").status == missed.status

    def test_too_many_candidates(self, platform: Platform, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("patient_api.search.engine.LARGEST_SORTED", 1)
        platform.create(identified())
        platform.create(identified("2"))
        reply = change(platform, method, "family=Example&gender=male")
        assert (reply.status, outcome(reply.json)) == (400, "too-costly")
        ((_, _, record, status),) = trail(platform, outcome="refused")
        assert (record, status) == ("Patient", "400")

    @pytest.mark.requirement("C6")
    def test_rights(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        own = "d" if method == "DELETE" else "u"
        for letters in ("c", own, f"r{own}", f"{own}s", "rs", "crs"):
            reply = change(platform, method, authorizer=claims(scope=f"system/Patient.{letters}"))
            assert (reply.status, outcome(reply.json)) == (403, "forbidden"), letters
        assert [status for *_, status in trail(platform, outcome="refused")] == ["403"] * 6
        assert current(platform, first).body == first.body
        granted = change(platform, method, authorizer=claims(scope=f"system/Patient.r{own}s"))
        assert granted.status == (204 if method == "DELETE" else 200)

    @pytest.mark.requirement("C6")
    def test_other_tenants_are_not_found(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        reply = change(platform, method, authorizer=claims("south-clinic"))
        assert reply.status == (201 if method == "PUT" else 404)
        assert current(platform, first).body == first.body

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"if-match": f'W/"{STALE}"'}, 412),
            ({"if-match": "{etag}"}, 200),
            ({"if-match": "*"}, 200),
            ({"if-none-match": "*"}, 412),
            ({"if-none-match": f'W/"{STALE}"'}, 200),
            ({"if-unmodified-since": "Fri, 15 Jan 2027 07:59:59 GMT"}, 412),
            ({"if-match": "x"}, 400),
        ],
    )
    def test_preconditions(self, platform: Platform, method: str, headers: dict[str, str], status: int) -> None:
        first = platform.create(identified())
        etag = first.headers["etag"]
        reply = change(platform, method, headers={name: value.format(etag=etag) for name, value in headers.items()})
        assert reply.status == (204 if status == 200 and method == "DELETE" else status)
        assert len(platform.versions()) == (2 if status == 200 else 1)
        if status == 412:
            ((_, _, record, kept),) = trail(platform, outcome="refused")
            assert (record, kept) == (f"Patient/{first.json['id']}", "412")

    @pytest.mark.parametrize("headers", [{"if-match": f'W/"{STALE}"'}, {"if-match": "*"}])
    def test_no_record_is_at_the_version_of_a_precondition(
        self, platform: Platform, method: str, headers: dict[str, str]
    ) -> None:
        assert change(platform, method, headers=headers).status == (412 if method == "PUT" else 404)
        assert not platform.versions()

    @pytest.mark.parametrize(("times", "status"), [(1, 200), (2, 200), (3, 409)])
    def test_a_record_that_changes_meanwhile_is_searched_again(
        self, platform: Platform, method: str, times: int, status: int
    ) -> None:
        first = platform.create(identified())
        dates = iter(f"1970-01-0{day}" for day in range(1, 9))

        def other() -> None:
            newest = current(platform, first)
            assert platform.call("PUT", first.location, {**newest.json, "birthDate": next(dates)}).status == 200

        interfere(platform, times, other)
        reply = change(platform, method)
        assert reply.status == (204 if status == 200 and method == "DELETE" else status)
        if method == "PATCH" and status == 200:
            assert (reply.json["gender"], reply.json["birthDate"]) == ("other", f"1970-01-0{times}")
        if status == 409:
            assert trail(platform, outcome="refused")[-1][3] == "409"

    def test_a_record_that_no_longer_matches_is_left_alone(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        moved = {**first.json, **identified("2")}
        interfere(platform, 1, lambda: platform.call("PUT", first.location, moved))
        assert change(platform, method).status == (201 if method == "PUT" else 404)
        assert current(platform, first).json["identifier"][0]["value"] == "2"
        assert "gender" not in current(platform, first).json

    def test_a_precondition_is_not_dropped_when_the_record_changes(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        interfere(platform, 1, lambda: platform.call("PUT", first.location, first.json))
        assert change(platform, method, headers={"if-match": first.headers["etag"]}).status == 412
        assert len(platform.versions()) == 2

    @pytest.mark.parametrize("operation", ["query", "batch_get_item", "transact_write_items"])
    def test_a_failing_store_is_on_record(self, platform: Platform, method: str, operation: str) -> None:
        platform.create(identified())
        platform.call("GET", "/fhir/Patient", query=by("2"))  # fetches the secrets
        kept = len(platform.versions())
        platform.dynamodb.faults[operation] = [client_error("InternalServerError")]
        assert change(platform, method).status == 503
        assert len(platform.versions()) == kept
        ((*_, status),) = trail(platform, outcome="failure")
        assert status == "503"

    def test_no_criteria_are_logged(self, platform: Platform, method: str) -> None:
        change(platform, method, by("Zubrowka"))
        assert "Zubrowka" not in platform.log.getvalue()
        assert "Zubrowka" not in json.dumps(platform.audit())


VERSIONED: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("PUT", lambda meta: identified(meta=meta, gender="other")),
    ("PATCH", lambda meta: {"meta": meta, "gender": "other"}),
]


@pytest.mark.parametrize(("method", "body"), VERSIONED, ids=["PUT", "PATCH"])
def test_the_version_in_the_body_is_a_precondition(
    platform: Platform, method: str, body: Callable[[dict[str, Any]], object]
) -> None:
    first = platform.create(identified())
    assert change(platform, method, body=body({"versionId": STALE})).status == 412
    assert len(platform.versions()) == 1
    assert change(platform, method, body=body(first.json["meta"])).status == 200


def test_the_statement_says_what_is_conditional(platform: Platform) -> None:
    resources = platform.call("GET", "/fhir/metadata").json["rest"][0]["resource"]
    names = ("conditionalCreate", "conditionalUpdate", "conditionalDelete")
    assert {one["type"]: [one[name] for name in names] for one in resources} == {
        "Patient": [True, True, "single"],
        "DocumentReference": [False, False, "not-supported"],
        "AuditEvent": [False, False, "not-supported"],
    }
    (said,) = [each for one in resources for each in one["interaction"] if each["code"] == "patch"]
    assert "criteria" in said["documentation"]
