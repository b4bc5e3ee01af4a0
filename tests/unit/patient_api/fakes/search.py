"""The searches of one region on fakes, with records of chosen ids and stamps."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.fhir.codec import JsonValue, parse
from patient_api.http.request import Request
from patient_api.store.model import DELETED, Method, RecordKey, Version, head_item, token_item, version_of
from unit.patient_api.fakes.api import BASE, Platform, claims, event, patient
from unit.patient_api.fakes.aws import AUDIT, REGION, START_MS

TENANT = "north-clinic"


class SearchRegion(Platform):
    """The API of one region. Its searches are called without the dispatcher, so they raise their errors."""

    def __init__(self) -> None:
        super().__init__()
        self.searches = self.services.searches
        self.tokenizer = self.services._tokenizer
        self.trail = self.services._trail

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def write(
        self, resource: dict[str, Any], *, id: str, at: int = 0, counter: int = 0, tenant: str = TENANT
    ) -> Version:
        """Write a new version of a record, `at` milliseconds after the start."""
        key = RecordKey(tenant, resource.get("resourceType", PATIENT), id)
        version = version_of(resource, key=key, stamp=Stamp(START_MS + at, counter, REGION), method=Method.PUT)
        self.add(head_item(version, REGION))
        for token in self.tokenizer.tokens(tenant, _parsed(version.resource or "")):
            self.add(token_item(version, token))
        return version

    def fill(self, count: int, resource: dict[str, Any], *, width: int = 1) -> list[str]:
        """Write records at increasing times, and return their ids, `r-0` and so on with `width` digits."""
        names = [f"r-{number:0{width}d}" for number in range(count)]
        for at, name in enumerate(names):
            self.write(resource, id=name, at=at)
        return names

    def delete(self, id: str, *, at: int) -> None:
        """Write a deletion of a patient."""
        key = RecordKey(TENANT, PATIENT, id)
        self.add(head_item(Version(key, Stamp(START_MS + at, 0, REGION), Method.DELETE, None, DELETED), REGION))

    def search(
        self, query: str, *, kind: str = PATIENT, tenant: str = TENANT, scope: str = "system/*.s"
    ) -> dict[str, Any]:
        """Return the bundle of a search by GET."""
        return _json(self.searches.search(get(query, kind, tenant=tenant, scope=scope, at_ms=self.now_ms), kind))

    def post(self, form: str, *, query: str = "") -> dict[str, Any]:
        """Return the bundle of a search of patients by POST."""
        return _json(self.searches.search(posted(form, query=query), PATIENT))

    def audited(self, query: str, *, tenant: str = TENANT, scope: str = "system/*.s") -> dict[str, Any]:
        """Return the bundle of a search of audit events."""
        request = get(query, "AuditEvent", tenant=tenant, scope=scope, at_ms=self.now_ms)
        return _json(self.services.audit_search.search(request))

    def pages(self, query: str, *, audit: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the bundles of a search of patients or audit events, page by page, without auditing it."""
        following: str | None = query
        events = dict(self.dynamodb.tables[AUDIT])
        for _ in range(200):
            bundle = self.audited(str(following)) if audit else self.search(str(following))
            self.dynamodb.tables[AUDIT] = dict(events)
            yield bundle
            following = next_query(bundle)
            if following is None:
                return
        raise AssertionError("there is no last page")


def person(family: str = "Example", **elements: Any) -> dict[str, Any]:
    """Return a Patient resource."""
    return patient(name=[{"family": family}], **elements)


def get(query: str, kind: str, *, tenant: str = TENANT, scope: str = "system/*.s", at_ms: int = START_MS) -> Request:
    """Return a search by GET."""
    return Request.of(event("GET", f"/fhir/{kind}", query=query, authorizer=claims(tenant, scope), at_ms=at_ms))


def posted(form: str, *, query: str = "") -> Request:
    """Return a search of patients by POST."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Request.of(event("POST", "/fhir/Patient/_search", form, headers=headers, query=query))


def ids(bundle: dict[str, Any]) -> list[str]:
    """Return the ids of the results, in order."""
    return [entry["resource"]["id"] for entry in bundle.get("entry", ())]


def link(bundle: dict[str, Any], relation: str) -> str | None:
    """Return the URL of a link, without the base."""
    assert all(one["url"].startswith(f"{BASE}/") for one in bundle["link"])
    found = {one["relation"]: one["url"].removeprefix(f"{BASE}/") for one in bundle["link"]}
    return found.get(relation)


def next_query(bundle: dict[str, Any]) -> str | None:
    """Return the query of the next page, None on the last page."""
    following = link(bundle, "next")
    return following.partition("?")[2] if following else None


def _parsed(text: str) -> dict[str, JsonValue]:
    value = parse(text.encode())
    assert isinstance(value, dict)
    return value


def _json(text: str) -> dict[str, Any]:
    return cast("dict[str, Any]", _parsed(text))
