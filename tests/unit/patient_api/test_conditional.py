"""Requests that name a record by search criteria: in their URL or, to create it, in If-None-Exist."""

import json
from copy import deepcopy
from typing import Any

import pytest

from unit.patient_api.fakes.api import UNKNOWN, Platform, Reply, accessed, claims, id_of, patient
from unit.patient_api.fakes.aws import START_MS, client_error

STALE = f"{START_MS - 5}-0000-us-east-1"
CHANGES = pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
PLACES = pytest.mark.parametrize("place", ["URL", "If-None-Exist"])
Call = tuple[str, str, str, str]


def identified(value: str = "1", **elements: Any) -> dict[str, Any]:
    return patient(identifier=[{"system": "urn:mrn", "value": value}], **elements)


def by(value: str = "1") -> str:
    return f"identifier=urn:mrn%7C{value}"


def create(platform: Platform, place: str, criteria: str = by(), body: object = None, **parts: Any) -> Reply:
    """Create the patient unless criteria match one."""
    if place == "URL":
        parts["query"] = criteria
    else:
        parts["headers"] = parts.get("headers", {}) | {"if-none-exist": criteria}
    return platform.call("POST", "/fhir/Patient", body or identified(), **parts)


def change(platform: Platform, method: str, query: str = by(), **parts: Any) -> Reply:
    """Set the gender of the patient that matches, or delete it."""
    headers = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
    bodies = {"PUT": identified(gender="other"), "PATCH": {"gender": "other"}}
    body = parts.pop("body", bodies.get(method))
    return platform.call(
        method, "/fhir/Patient", body, query=query, headers=headers | parts.pop("headers", {}), **parts
    )


def current(platform: Platform, created: Reply) -> Reply:
    return platform.call("GET", created.location)


def done(method: str, status: int = 200) -> int:
    """Return the status of a success with this method."""
    return 204 if status == 200 and method == "DELETE" else status


def trail(platform: Platform, **attributes: str) -> list[Call]:
    """Return action, interaction, record and status of the events, without creations and reads by the test."""
    return [
        (item["action"], item["interaction"], accessed(item), item["status"])
        for item in sorted(platform.audit(**attributes), key=lambda item: item["at"])
        if item["interaction"] not in {"create", "read"}
    ]


@PLACES
class TestCreate:
    def test_create_without_match_adds_a_record(self, platform: Platform, place: str) -> None:
        platform.create(identified("2"))
        assert create(platform, place).status == 201
        assert len(platform.versions()) == 2

    def test_create_with_match_returns_the_record(self, platform: Platform, place: str) -> None:
        first = platform.create(identified())
        again = create(platform, place, f"{by()}&_format=json" if place == "URL" else by())
        assert (again.status, again.body) == (200, first.body)
        assert len(platform.versions()) == 1
        assert [item["record"] for item in platform.audit(action="R")] == [f"north-clinic#Patient/{first.json['id']}"]

    def test_create_with_several_matches_returns_412(self, platform: Platform, place: str) -> None:
        platform.create(identified())
        platform.create(identified())
        reply = create(platform, place)
        assert reply.outcome == (412, "conflict")
        assert [name for name in ("URL", "If-None-Exist") if name in reply.body] == [place]
        assert [item["status"] for item in platform.audit(outcome="refused")] == ["412"]

    def test_outcome_states_whether_a_record_was_written(self, platform: Platform, place: str) -> None:
        replies = [create(platform, place, headers={"prefer": "return=OperationOutcome"}) for _ in range(2)]
        assert [(reply.status, reply.issue["diagnostics"]) for reply in replies] == [
            (201, "The record was written."),
            (200, "A record that matches exists already."),
        ]

    def test_record_that_no_longer_matches_is_not_returned(self, platform: Platform, place: str) -> None:
        first = create(platform, place)
        assert platform.call("PUT", first.location, {**first.json, **identified("2")}).status == 200
        second = create(platform, place)
        assert (second.status, second.json["id"] != first.json["id"]) == (201, True)

    def test_create_needs_the_rights_to_search_and_to_read(self, platform: Platform, place: str) -> None:
        for letters in ("c", "cr", "cs"):
            assert create(platform, place, authorizer=claims(scope=f"system/Patient.{letters}")).status == 403
        assert create(platform, place, authorizer=claims(scope="user/Patient.crs")).status == 201

    @pytest.mark.parametrize("criteria", ["shoe=42", "identifier=", "name:exact=x", "%ff", "?identifier=1", "gender=x"])
    def test_invalid_criteria_return_400(self, platform: Platform, place: str, criteria: str) -> None:
        assert create(platform, place, criteria).status == 400
        assert not platform.versions()

    def test_second_condition_returns_400(self, platform: Platform, place: str) -> None:
        for headers in ({"idempotency-key": "k"}, {"if-none-exist": by("2")} if place == "URL" else None):
            if headers:
                reply = create(platform, place, headers=headers)
                assert (reply.status, "in the URL" in reply.body or place != "URL") == (400, True)
        assert not platform.versions()


@pytest.mark.trap(2)
@pytest.mark.parametrize("deletions", [1, 2, 3, 6])
def test_requests_after_deletions_create_one_record(platform: Platform, other: Platform, deletions: int) -> None:
    for _ in range(deletions):
        made = create(platform, "If-None-Exist")
        assert (made.status, platform.call("DELETE", made.location).status) == (201, 204)
    other.dynamodb.tables = deepcopy(platform.dynamodb.tables)
    concurrent: list[Reply] = []
    platform.before_writes(1, lambda: concurrent.append(create(platform, "URL")))
    replies = [create(platform, "If-None-Exist"), create(other, "If-None-Exist"), change(platform, "PUT"), *concurrent]
    assert [reply.status for reply in replies] == [200, 201, 200, 201]
    assert len({reply.json["id"] for reply in replies}) == 1


def test_record_created_between_search_and_write_is_found(platform: Platform) -> None:
    assert platform.call("DELETE", create(platform, "If-None-Exist").location).status == 204
    concurrent: list[Reply] = []

    def before(operation: str, request: Any) -> None:
        # The second search of the same request has not begun yet.
        if operation == "get_item" and not concurrent:
            platform.dynamodb.before = lambda *_: None
            concurrent.append(create(platform, "If-None-Exist"))

    platform.dynamodb.before = before
    reply = create(platform, "If-None-Exist")
    assert [concurrent[0].status, reply.status] == [201, 200]
    assert reply.json["id"] == concurrent[0].json["id"]


@pytest.mark.parametrize("criteria", ["", "identifier", "_count=2", "identifier=1&_sort=_lastUpdated"])
def test_header_without_search_criteria_returns_400(platform: Platform, criteria: str) -> None:
    assert create(platform, "If-None-Exist", criteria).status == 400
    assert not platform.versions()


@pytest.mark.trap(2)
def test_regions_that_create_concurrently_create_the_same_record(platform: Platform, other: Platform) -> None:
    third, criteria = Platform(), "family=Example&identifier=urn:mrn|1"
    replies = [
        create(platform, "If-None-Exist", criteria),
        create(other, "URL", "identifier=urn%3Amrn%7C1&_pretty=true&family=Example"),
        change(third, "PUT", "identifier=urn%3Amrn%7C1&_pretty=true&family=Example"),
    ]
    third.close()
    assert [reply.status for reply in replies] == [201] * 3
    assert len({reply.json["id"] for reply in replies}) == 1


def test_document_is_not_created_conditionally(platform: Platform) -> None:
    reply = platform.call("POST", "/fhir/DocumentReference", {"resourceType": "DocumentReference"}, query="_id=1")
    assert reply.status == 400


class TestUpdate:
    def test_update_without_match_creates_a_record(self, platform: Platform) -> None:
        reply = change(platform, "PUT")
        assert (reply.status, id_of(reply.location)) == (201, reply.json["id"])
        assert current(platform, reply).body == reply.body
        assert trail(platform) == [("C", "update", f"Patient/{reply.json['id']}", "201")]

    def test_update_with_match_replaces_the_version(self, platform: Platform) -> None:
        platform.create(identified("2"))
        first = platform.create(identified())
        reply = change(platform, "PUT")
        assert (reply.status, reply.json["id"], reply.json["gender"]) == (200, first.json["id"], "other")
        assert "location" not in reply.headers
        assert current(platform, first).headers["etag"] == reply.headers["etag"] != first.headers["etag"]
        assert trail(platform) == [("U", "update", f"Patient/{first.json['id']}", "200")]
        assert [item["version"] for item in platform.audit(action="U")] == [reply.headers["etag"][3:-1]]
        minimal = change(platform, "PUT", headers={"prefer": "return=minimal"})
        assert (minimal.status, minimal.body) == (200, "")

    def test_update_with_another_id_in_the_body_returns_400(self, platform: Platform) -> None:
        first = platform.create(identified())
        wrong = change(platform, "PUT", body=identified(id=UNKNOWN))
        assert (wrong.status, wrong.issue["expression"]) == (400, ["Patient.id"])
        assert trail(platform, outcome="refused") == [("U", "update", f"Patient/{first.json['id']}", "400")]
        assert change(platform, "PUT", body=identified(id=first.json["id"])).status == 200

    def test_update_does_not_create_a_record_under_an_id_of_the_client(self, platform: Platform) -> None:
        assert change(platform, "PUT", body=identified(id=UNKNOWN)).outcome == (405, "not-supported")
        assert not platform.versions()
        assert trail(platform, outcome="refused") == [("U", "update", "Patient", "405")]

    def test_update_that_creates_needs_the_right_to_create(self, platform: Platform) -> None:
        refused = change(platform, "PUT", authorizer=claims(scope="system/Patient.rus"))
        assert refused.outcome == (403, "forbidden")
        assert trail(platform, outcome="refused") == [("U", "update", "Patient", "403")]
        assert not platform.versions()
        assert change(platform, "PUT", authorizer=claims(scope="system/Patient.crus")).status == 201
        assert change(platform, "PUT", authorizer=claims(scope="system/Patient.rus")).status == 200

    @pytest.mark.parametrize("concurrent", ["create", "update"])
    def test_concurrent_requests_create_one_record(self, platform: Platform, concurrent: str) -> None:
        others: list[Reply] = []

        def create_first() -> None:
            body = identified(gender="male")
            created = create(platform, "If-None-Exist", body=body) if concurrent == "create" else None
            others.append(created or change(platform, "PUT", body=body))

        platform.before_writes(1, create_first)
        reply = change(platform, "PUT")
        assert [others[0].status, reply.status] == [201, 200]
        assert reply.json["id"] == others[0].json["id"]
        assert [item["resource"]["S"].count('"other"') for item in platform.versions()] == [0, 1]

    @pytest.mark.parametrize("deleted", [True, False])
    def test_record_that_no_longer_matches_is_not_updated(self, platform: Platform, deleted: bool) -> None:
        first = change(platform, "PUT")
        if deleted:
            assert platform.call("DELETE", first.location).status == 204
        else:
            assert platform.call("PUT", first.location, {**first.json, **identified("2")}).status == 200
        second = change(platform, "PUT")
        assert (second.status, second.json["id"] != first.json["id"]) == (201, True)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/merge-patch+json", {"gender": "other"}),
        ("application/json", {"gender": "other"}),
        ("application/json-patch+json", [{"op": "add", "path": "/gender", "value": "other"}]),
    ],
)
def test_patch_with_match_changes_the_record(platform: Platform, media_type: str, body: object) -> None:
    first = platform.create(identified(birthDate="1970-05-02"))
    reply = change(platform, "PATCH", body=body, headers={"content-type": media_type})
    assert reply.status == 200
    assert {"gender": "other", "birthDate": "1970-05-02", "id": first.json["id"]}.items() <= reply.json.items()
    assert trail(platform) == [("U", "patch", f"Patient/{first.json['id']}", "200")]


def test_failed_patch_is_audited_with_its_record(platform: Platform) -> None:
    first = platform.create(identified())
    assert change(platform, "PATCH", body={"gender": "x"}).status == 422
    assert trail(platform) == [("U", "patch", f"Patient/{first.json['id']}", "422")]
    assert len(platform.versions()) == 1


def test_delete_with_match_deletes_only_that_record(platform: Platform) -> None:
    other, first = platform.create(identified("2")), platform.create(identified())
    reply = change(platform, "DELETE")
    assert (reply.status, reply.body) == (204, "")
    assert [current(platform, one).status for one in (other, first)] == [200, 410]
    assert trail(platform) == [("D", "delete", f"Patient/{first.json['id']}", "204")]
    assert change(platform, "DELETE").status == 404


@pytest.mark.parametrize(("method", "action"), [("PATCH", "U"), ("DELETE", "D")])
def test_change_without_match_returns_404(platform: Platform, method: str, action: str) -> None:
    platform.create(identified("2"))
    assert change(platform, method).outcome == (404, "not-found")
    assert trail(platform) == [(action, method.lower(), "Patient", "404")]
    assert len(platform.versions()) == 1


@CHANGES
class TestChange:
    def test_several_matches_return_412(self, platform: Platform, method: str) -> None:
        records = [platform.create(identified()) for _ in range(3)]
        reply = change(platform, method)
        assert reply.outcome == (412, "conflict")
        assert "the URL" in reply.body
        assert [current(platform, one).status for one in records] == [200, 200, 200]
        assert len(platform.versions()) == 3
        ((_, _, record, status),) = trail(platform, outcome="refused")
        assert (record, status) == ("Patient", "412")

    @pytest.mark.parametrize(
        "query", ["", "_format=json", "&", "_pretty=true&_format=application/fhir%2Bjson", "=", "x"]
    )
    def test_request_without_criteria_returns_400(self, platform: Platform, method: str, query: str) -> None:
        first = platform.create(identified())
        assert change(platform, method, query).outcome == (400, "structure")
        assert current(platform, first).body == first.body
        assert not trail(platform)

    @pytest.mark.parametrize(
        "control",
        ["_count=1", "_sort=_lastUpdated", "_summary=count", "_total=accurate", "_totalMethod=count", "_cursor=x"],
    )
    @pytest.mark.parametrize("form", ["{control}", "{by}&{control}"])
    def test_control_of_a_search_returns_400(self, platform: Platform, method: str, control: str, form: str) -> None:
        platform.create(identified())
        reply = change(platform, method, form.format(control=control, by=by()))
        assert (reply.status, "the URL" in reply.body) == (400, True)
        assert len(platform.versions()) == 1

    @pytest.mark.parametrize(
        "criteria",
        [
            "gender=female",
            "birthdate=ge1970",
            "name=a",
            "_lastUpdated=ge2020",
            "shoe=42",
            "identifier=",
            "name:exact=x",
            "_has:x=1",
        ],
    )
    def test_criteria_that_are_unknown_or_without_index_return_400(
        self, platform: Platform, method: str, criteria: str
    ) -> None:
        platform.create(identified(gender="female"))
        unknown = criteria.startswith(("shoe", "identifier", "name:", "_has"))
        for query in (criteria, *([f"{by()}&{criteria}"] if unknown else [])):
            reply = change(platform, method, query)
            assert reply.status == 400
            assert "_count" not in reply.body
        assert len(platform.versions()) == 1

    def test_all_criteria_must_match(self, platform: Platform, method: str) -> None:
        platform.create(identified())
        for query in (f"{by()}&family=Other", f"{by()}&family=Example&{by('2')}"):
            assert change(platform, method, query).status == (201 if method == "PUT" else 404)

    def test_too_many_candidates_return_400(
        self, platform: Platform, method: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("patient_api.search.engine.LARGEST_SORTED", 1)
        platform.create(identified())
        platform.create(identified("2"))
        assert change(platform, method, "family=Example&gender=male").outcome == (400, "too-costly")
        ((_, _, record, status),) = trail(platform, outcome="refused")
        assert (record, status) == ("Patient", "400")

    @pytest.mark.requirement("C6")
    def test_change_needs_the_rights_to_search_and_to_read(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        own = "d" if method == "DELETE" else "u"
        for letters in ("c", own, f"r{own}", f"{own}s", "rs", "crs"):
            reply = change(platform, method, authorizer=claims(scope=f"system/Patient.{letters}"))
            assert reply.outcome == (403, "forbidden"), letters
        assert [status for *_, status in trail(platform, outcome="refused")] == ["403"] * 6
        assert current(platform, first).body == first.body
        granted = change(platform, method, authorizer=claims(scope=f"system/Patient.r{own}s"))
        assert granted.status == done(method)

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
    def test_preconditions_apply_to_the_match(
        self, platform: Platform, method: str, headers: dict[str, str], status: int
    ) -> None:
        first = platform.create(identified())
        etag = first.headers["etag"]
        reply = change(platform, method, headers={name: value.format(etag=etag) for name, value in headers.items()})
        assert reply.status == done(method, status)
        assert len(platform.versions()) == (2 if status == 200 else 1)
        if status == 412:
            ((_, _, record, audited),) = trail(platform, outcome="refused")
            assert (record, audited) == (f"Patient/{first.json['id']}", "412")

    @pytest.mark.parametrize("if_match", [f'W/"{STALE}"', "*"])
    def test_if_match_without_match_changes_nothing(self, platform: Platform, method: str, if_match: str) -> None:
        assert change(platform, method, headers={"if-match": if_match}).status == (412 if method == "PUT" else 404)
        assert not platform.versions()

    @pytest.mark.parametrize(("times", "status"), [(1, 200), (2, 200), (3, 409)])
    def test_search_is_repeated_when_the_record_changes(
        self, platform: Platform, method: str, times: int, status: int
    ) -> None:
        first = platform.create(identified())
        dates = iter(f"1970-01-0{day}" for day in range(1, 9))

        def update() -> None:
            newest = current(platform, first)
            assert platform.call("PUT", first.location, {**newest.json, "birthDate": next(dates)}).status == 200

        platform.before_writes(times, update)
        reply = change(platform, method)
        assert reply.status == done(method, status)
        if method == "PATCH" and status == 200:
            assert (reply.json["gender"], reply.json["birthDate"]) == ("other", f"1970-01-0{times}")
        if status == 409:
            assert trail(platform, outcome="refused")[-1][3] == "409"

    def test_record_that_stops_matching_is_not_changed(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        moved = {**first.json, **identified("2")}
        platform.before_writes(1, lambda: platform.call("PUT", first.location, moved))
        assert change(platform, method).status == (201 if method == "PUT" else 404)
        assert current(platform, first).json["identifier"][0]["value"] == "2"
        assert "gender" not in current(platform, first).json

    def test_precondition_still_applies_when_the_record_changes(self, platform: Platform, method: str) -> None:
        first = platform.create(identified())
        platform.before_writes(1, lambda: platform.call("PUT", first.location, first.json))
        assert change(platform, method, headers={"if-match": first.headers["etag"]}).status == 412
        assert len(platform.versions()) == 2

    @pytest.mark.parametrize("operation", ["query", "batch_get_item", "transact_write_items"])
    def test_storage_fault_is_audited(self, platform: Platform, method: str, operation: str) -> None:
        platform.create(identified())
        platform.call("GET", "/fhir/Patient", query=by("2"))  # fetches the secrets
        platform.dynamodb.faults[operation] = [client_error("InternalServerError")]
        assert change(platform, method).status == 503
        assert len(platform.versions()) == 1
        ((*_, status),) = trail(platform, outcome="failure")
        assert status == "503"

    def test_criteria_are_neither_logged_nor_audited(self, platform: Platform, method: str) -> None:
        change(platform, method, by("Zubrowka"))
        assert "Zubrowka" not in platform.log.getvalue() + json.dumps(platform.audit())


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_version_in_the_body_is_a_precondition(platform: Platform, method: str) -> None:
    first = platform.create(identified())
    body = identified(gender="other") if method == "PUT" else {"gender": "other"}
    assert change(platform, method, body={**body, "meta": {"versionId": STALE}}).status == 412
    assert len(platform.versions()) == 1
    assert change(platform, method, body={**body, "meta": first.json["meta"]}).status == 200


def test_capability_statement_declares_conditional_interactions(platform: Platform) -> None:
    resources = platform.call("GET", "/fhir/metadata").json["rest"][0]["resource"]
    names = ("conditionalCreate", "conditionalUpdate", "conditionalDelete", "updateCreate")
    assert {one["type"]: [one[name] for name in names] for one in resources} == {
        "Patient": [True, True, "single", False],
        "DocumentReference": [False, False, "not-supported", False],
        "AuditEvent": [False, False, "not-supported", False],
    }
    (patch,) = [each for one in resources for each in one["interaction"] if each["code"] == "patch"]
    assert "criteria" in patch["documentation"]
