"""The searches of one region on fakes, with records written as the API writes them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import urlencode
from uuid import uuid4

from patient_api.audit.trail import AuditTrail
from patient_api.aws import Clients
from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.fhir.codec import JsonValue, parse
from patient_api.http.authorization import Authorization
from patient_api.http.paging import Cursors
from patient_api.http.request import Request
from patient_api.search.audit import AuditSearch
from patient_api.search.service import Searches
from patient_api.search.tokenizer import Tokenizer
from patient_api.secrets import Secrets
from patient_api.store.index import Index
from patient_api.store.model import Method, RecordKey, Version, head_item, token_item, version_of
from unit.patient_api.fakes import AUDIT, ENVIRONMENT, RECORDS, REGION, START_MS, FakeClients, FakeDynamoDB
from unit.patient_api.whole_api import claims, event

TENANT = "north-clinic"


class SearchRegion:
    """The search services of one region."""

    def __init__(self) -> None:
        self.dynamodb = FakeDynamoDB()
        self.now_ms = START_MS
        self.pool = ThreadPoolExecutor(4)
        clients = cast("Clients", FakeClients(self.dynamodb))
        secrets = Secrets(clients=clients, key=ENVIRONMENT.index_key)
        self.tokenizer = Tokenizer(secrets=secrets)
        self.trail = AuditTrail(client=self.dynamodb, table=AUDIT)
        self.authorization = Authorization(trail=self.trail, region=REGION, now=self.now, new_id=lambda: str(uuid4()))
        cursors = Cursors(secrets=secrets, now=lambda: self.now_ms / 1000)
        self.searches = Searches(
            authorization=self.authorization,
            index=Index(client=self.dynamodb, table=RECORDS, region=REGION),
            tokenizer=self.tokenizer,
            cursors=cursors,
            pool=self.pool,
            new_id=lambda: str(uuid4()),
        )
        self.audit = AuditSearch(
            authorization=self.authorization,
            client=self.dynamodb,
            table=AUDIT,
            cursors=cursors,
            pool=self.pool,
            now=self.now,
            new_id=lambda: str(uuid4()),
        )

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def put(self, resource: dict[str, Any], *, id: str, at: int = 0, counter: int = 0, tenant: str = TENANT) -> Version:
        """Write a new version of a record, `at` milliseconds after the start."""
        key = RecordKey(tenant, resource.get("resourceType", PATIENT), id)
        stamp = Stamp(START_MS + at, counter, REGION)
        version = version_of(resource, key=key, stamp=stamp, method=Method.PUT)
        self._add(head_item(version, REGION))
        for token in self.tokenizer.tokens(tenant, _parsed(version)):
            self._add(token_item(version, token))
        return version

    def delete(self, id: str, *, at: int) -> None:
        """Write a deletion of a patient."""
        key = RecordKey(TENANT, PATIENT, id)
        self._add(head_item(Version(key, Stamp(START_MS + at, 0, REGION), Method.DELETE, None), REGION))

    def search(
        self, query: str, *, kind: str = PATIENT, tenant: str = TENANT, scope: str = "system/*.s"
    ) -> dict[str, Any]:
        """Return the bundle of a search by GET."""
        return _json(self.searches.search(get(query, kind, tenant=tenant, scope=scope), kind))

    def post(self, form: str, *, query: str = "") -> dict[str, Any]:
        """Return the bundle of a search of patients by POST."""
        return _json(self.searches.search(posted(form, query=query), PATIENT))

    def audited(self, query: str, *, tenant: str = TENANT, scope: str = "system/*.s") -> dict[str, Any]:
        """Return the bundle of a search of audit events."""
        return _json(self.audit.search(get(query, "AuditEvent", tenant=tenant, scope=scope)))

    def calls(self) -> list[str]:
        """Return the DynamoDB calls since the last time."""
        names = [name for name, _ in self.dynamodb.calls]
        self.dynamodb.calls.clear()
        return names

    def events(self, **attributes: str) -> list[dict[str, Any]]:
        """Return the audit items with these attributes."""
        return self.dynamodb.items(AUDIT, **attributes)

    def close(self) -> None:
        """Stop the threads."""
        self.pool.shutdown(wait=True)

    def _add(self, item: dict[str, Any]) -> None:
        self.dynamodb.tables[RECORDS][item["pk"]["S"], item["sk"]["S"]] = item


def get(query: str, kind: str, *, tenant: str = TENANT, scope: str = "system/*.s") -> Request:
    """Return a search by GET."""
    return Request.of(event("GET", f"/fhir/{kind}", query=query, authorizer=claims(tenant, scope)))


def posted(form: str, *, query: str = "") -> Request:
    """Return a search of patients by POST."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Request.of(event("POST", "/fhir/Patient/_search", form, headers=headers, query=query))


def ids(bundle: dict[str, Any]) -> list[str]:
    """Return the ids of the results, in order."""
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


def link(bundle: dict[str, Any], relation: str) -> str | None:
    """Return the URL of a link, without the base."""
    base = "https://api.example.com/fhir/"
    assert all(one["url"].startswith(base) for one in bundle["link"])
    found = {one["relation"]: one["url"].removeprefix(base) for one in bundle["link"]}
    return found.get(relation)


def query_of(**parameters: str) -> str:
    """Return a query string."""
    return urlencode(parameters)


def _parsed(version: Version) -> dict[str, JsonValue]:
    value = parse((version.resource or "").encode())
    assert isinstance(value, dict)
    return value


def _json(text: str) -> dict[str, Any]:
    value = parse(text.encode())
    assert isinstance(value, dict)
    return cast("dict[str, Any]", value)
