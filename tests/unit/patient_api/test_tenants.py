"""Requests with one tenant's token never return or change data of another tenant."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from unit.patient_api.fakes.api import Platform, Reply, claims, patient
from unit.patient_api.fakes.aws import AUDIT, RECORDS

MINE, THEIRS = "north-clinic", "south-clinic"
SECRET = "Zubrowka"
# Letters beyond hexadecimal ones: a random identifier of the caller's own record cannot contain it by chance.
NUMBER = "MRN-4711"
TRICKS = st.sampled_from(
    [
        "{id}",
        "../{id}",
        "%2e%2e/{id}",
        f"{THEIRS}#Patient#{{id}}",
        "{id}#",
        "{id}?tenant=south-clinic",
        "head#us-east-1",
        "*",
    ]
)
HEADERS = st.sampled_from(
    [{}, {"x-tenant": THEIRS}, {"tenant": THEIRS}, {"x-forwarded-tenant": THEIRS}, {"x-amzn-claims": THEIRS}]
)
QUERIES = st.sampled_from(
    [
        "",
        f"name={SECRET}",
        f"family={SECRET[:2]}",
        f"identifier=urn:mrn|{NUMBER}",
        f"identifier={NUMBER}",
        "gender=other",
        "birthdate=1970-05-02",
        "_sort=-_lastUpdated",
        "_lastUpdated=gt2000",
        "tenant=south-clinic",
    ]
)


def theirs() -> dict[str, Any]:
    """Return a patient of the other tenant, of which every element is searchable."""
    return patient(
        name=[{"family": SECRET, "given": [SECRET]}],
        identifier=[{"system": "urn:mrn", "value": NUMBER}],
        gender="other",
        birthDate="1970-05-02",
    )


class Tenants(RuleBasedStateMachine):
    """Requests of `MINE`, with ids, versions and cursors of `THEIRS`."""

    ids = Bundle("ids")
    etags = Bundle("etags")

    def __init__(self) -> None:
        super().__init__()
        self.platform = Platform()

    def teardown(self) -> None:
        self.platform.close()

    @initialize(target=ids)
    def their_record(self) -> str:
        made = self._as(THEIRS, "POST", "/fhir/Patient", theirs(), headers={"idempotency-key": "k"})
        self.their_etag = made.headers["etag"]
        self._as(THEIRS, "POST", "/fhir/Patient", theirs())
        page = self._as(THEIRS, "GET", "/fhir/Patient", query="_count=1").json
        self.their_cursor = page["link"][-1]["url"].partition("_cursor=")[2]
        assert self.their_cursor
        self.before = self._of(THEIRS)
        return str(made.json["id"])

    @rule(id=ids, trick=TRICKS, headers=HEADERS, tail=st.sampled_from(["", "/_history", "/_history/{version}"]))
    def look(self, id: str, trick: str, headers: dict[str, str], tail: str) -> None:
        path = "/fhir/Patient/" + trick.format(id=id) + tail.format(version=self.their_etag[3:-1])
        self._mine("GET", path, headers=headers)

    @rule(query=QUERIES, kind=st.sampled_from(["Patient", "DocumentReference", "AuditEvent"]))
    def search(self, query: str, kind: str) -> None:
        self._mine("GET", f"/fhir/{kind}", query=query)

    @rule(id=ids, kind=st.sampled_from(["DocumentReference", "AuditEvent"]))
    def search_by_patient(self, id: str, kind: str) -> None:
        self._mine("GET", f"/fhir/{kind}", query=f"patient=Patient/{id}")

    @rule()
    def use_their_cursor(self) -> None:
        reply = self._mine("GET", "/fhir/Patient", query=f"_count=1&_cursor={self.their_cursor}")
        assert reply.status == 400

    @rule(id=ids, trick=TRICKS, method=st.sampled_from(["PUT", "PATCH", "DELETE"]))
    def change(self, id: str, trick: str, method: str) -> None:
        path = "/fhir/Patient/" + trick.format(id=id)
        body: object = patient(id=id)
        headers = {"if-match": self.their_etag}
        if method == "PATCH":
            body, headers = (
                [{"op": "remove", "path": "/name"}],
                {**headers, "content-type": "application/json-patch+json"},
            )
        assert self._mine(method, path, body, headers=headers).status in {400, 404, 405, 410, 412, 422}

    @rule(
        method=st.sampled_from(["PUT", "PATCH", "DELETE"]),
        query=st.sampled_from([f"identifier=urn:mrn|{NUMBER}", f"identifier={NUMBER}", f"family={SECRET}"]),
    )
    def change_by_criteria(self, method: str, query: str) -> None:
        headers = {"content-type": "application/merge-patch+json"} if method == "PATCH" else {}
        bodies = {"PUT": patient(), "PATCH": {"gender": "male"}}
        reply = self._mine(method, "/fhir/Patient", bodies.get(method), query=query, headers=headers)
        assert reply.status == (201 if method == "PUT" else 404)

    @rule(
        target=ids,
        conditional=st.sampled_from([{}, {"idempotency-key": "k"}, {"if-none-exist": f"identifier={NUMBER}"}]),
    )
    def create(self, conditional: dict[str, str]) -> str:
        reply = self._mine("POST", "/fhir/Patient", patient(), headers=conditional)
        assert reply.status == 201
        return str(reply.json["id"])

    @rule(id=consumes(ids))
    def delete_own(self, id: str) -> None:
        self._mine("DELETE", f"/fhir/Patient/{id}")

    @invariant()
    def their_items_are_unchanged(self) -> None:
        assert self._of(THEIRS) == getattr(self, "before", self._of(THEIRS))

    def _mine(self, method: str, path: str, body: object = None, **parts: Any) -> Reply:
        reply = self._as(MINE, method, path, body, **parts)
        content = reply.json if reply.body else {}
        # A page's links repeat the client's own criteria.
        content.pop("link", None)
        text = json.dumps(content) + json.dumps(reply.headers)
        assert reply.status < 500, text
        assert not [part for part in (SECRET, NUMBER, THEIRS) if part in text]
        return reply

    def _as(self, tenant: str, method: str, path: str, body: object = None, **parts: Any) -> Reply:
        self.platform.now_ms += 1
        return self.platform.call(method, path, body, authorizer=claims(tenant), **parts)

    def _of(self, tenant: str) -> list[Any]:
        tables = self.platform.dynamodb.tables
        return [
            (table, key, item)
            for table in (RECORDS, AUDIT)
            for key, item in sorted(tables[table].items())
            if key[0].startswith(f"{tenant}#")
        ]


Tenants.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestTenants = pytest.mark.requirement("C6")(Tenants.TestCase)
