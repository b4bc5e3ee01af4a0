"""Searches of the audit trail, which are restricted to a tenant and audited themselves."""

from dataclasses import astuple, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patient_api.contract.audit import Action, AuditEvent, Outcome, event_of
from patient_api.contract.keys import instant
from patient_api.errors import Malformed, StorageFault, TooCostly
from unit.patient_api.fakes import api
from unit.patient_api.fakes.api import accessed, claims, id_of
from unit.patient_api.fakes.aws import AUDIT, client_error
from unit.patient_api.fakes.search import TENANT, SearchRegion, ids, next_query

HOUR = 60


def add(region: SearchRegion, id: str, *, ago: float = 1, tenant: str = TENANT, **facts: Any) -> AuditEvent:
    """Write an event, `ago` minutes before now."""
    event = AuditEvent(
        id=id,
        at=region.now() - timedelta(minutes=ago),
        tenant=tenant,
        subject=facts.pop("subject", "app-1"),
        action=Action.READ,
        interaction="read",
        record=facts.pop("record", "Patient/ada"),
        outcome=facts.pop("outcome", Outcome.SUCCESS),
        status=200,
        region="us-east-1",
        source_ip="203.0.113.9",
        request_id="request-1",
        **facts,
    )
    region.trail.put(event)
    return event


@pytest.mark.parametrize("record", ["Patient/ada", "Patient", "DocumentReference/letter", "Region/us-east-1"])
def test_item_and_event_convert_without_loss(region: SearchRegion, record: str) -> None:
    optional: dict[str, Any] = {field.name: f"a {field.name}" for field in fields(AuditEvent) if field.default is None}
    event = add(region, "e-1", record=record, **optional)
    assert None not in astuple(event)
    (item,) = region.dynamodb.tables[AUDIT].values()
    assert event_of(item) == event
    with pytest.raises(ValueError, match="subject"):
        event_of({name: value for name, value in item.items() if name != "subject"})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["e-1", "e-2", "e-3", "e-4"]),
        ("patient=ada", ["e-1", "e-3", "e-4", "e-5"]),
        ("patient=Patient/ada,bea", ["e-1", "e-2", "e-3", "e-4", "e-5"]),
        ("patient=ada&patient=bea", []),
        ("agent=app-2", ["e-2"]),
        ("agent=%7Capp-2", ["e-2"]),
        ("agent=urn:x%7Capp-2", []),
        ("agent=APP-2", []),
        ("outcome=4", ["e-3"]),
        ("outcome=http://hl7.org/fhir/audit-event-outcome%7C8,4", ["e-3", "e-4"]),
        ("outcome=12", []),
        ("patient=ada&outcome=0", ["e-1", "e-5"]),
        ("date=2027-01-15T07:59Z", ["e-1"]),
        ("date=ge2027-01-13", ["e-1", "e-2", "e-3", "e-4", "e-5"]),
        ("date=ge2027-01-13&date=lt2027-01-15", ["e-4", "e-5"]),
        ("patient=ada&date=lt2027-01-14T12:00:00Z", ["e-5"]),
    ],
)
def test_search_returns_matching_events_newest_first(region: SearchRegion, query: str, expected: list[str]) -> None:
    # Now is 2027-01-15T08:00Z.
    add(region, "e-1", ago=1)
    add(region, "e-2", ago=2, record="Patient/bea", subject="app-2")
    add(region, "e-3", ago=3 * HOUR, outcome=Outcome.REFUSED)
    add(region, "e-4", ago=20 * HOUR, outcome=Outcome.FAILURE)
    add(region, "e-5", ago=25 * HOUR)
    add(region, "other", ago=1, tenant="south-clinic")
    assert [name for bundle in region.pages(query, audit=True) for name in ids(bundle)] == expected


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40 * HOUR * 60_000).map(lambda ms: ms // 500_000 * 500_000),
        st.sampled_from(["ada", "bea"]),
        st.sampled_from(["app-1", "app-2"]),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(
    EVENTS,
    st.sampled_from(["", "patient=ada", "patient=bea,ada", "agent=app-1", "patient=ada&agent=app-1"]),
    st.integers(0, 45) | st.none(),
    st.integers(1, 5),
)
def test_pages_are_complete_without_duplicates_and_in_order(
    events: list[tuple[int, str, str]], query: str, hours: int | None, count: int
) -> None:
    region, written = SearchRegion(), []
    for number, (ms, patient, subject) in enumerate(events):
        written.append(add(region, f"e-{number}", ago=ms / 60_000, record=f"Patient/{patient}", subject=subject))
    low = region.now() - timedelta(hours=hours if hours is not None else 24 if "patient" not in query else 10_000)
    base_query = query if hours is None else f"{query}&date=ge{instant(low)}"
    got = [name for bundle in region.pages(f"{base_query}&_count={count}", audit=True) for name in ids(bundle)]
    region.close()
    expected = [
        event
        for event in written
        if event.at >= low
        and ("patient=ada" not in query or event.record == "Patient/ada")
        and ("agent" not in query or event.subject == "app-1")
    ]
    assert got == [event.id for event in sorted(expected, key=lambda event: (event.at, event.id), reverse=True)]


def test_hour_with_many_events_is_read_completely(region: SearchRegion) -> None:
    events = [add(region, f"e-{number:04d}", ago=number / 100) for number in range(700)]
    got = [ids(bundle) for bundle in region.pages("outcome=0&_count=50", audit=True)]
    assert [name for page in got for name in page] == [event.id for event in events]
    assert [ids(bundle) for bundle in region.pages("agent=unknown", audit=True)] == [[], []]


def test_range_without_events_has_one_page_per_day(region: SearchRegion) -> None:
    add(region, "old", ago=30 * 24 * HOUR)
    (bundle,) = region.pages("", audit=True)
    assert str(bundle["total"]) == "0"
    got = list(region.pages("date=ge2026-12-16", audit=True))
    assert [name for page in got for name in ids(page)] == ["old"]
    assert 25 <= len(got) <= 31
    assert "total" not in got[0]


@pytest.mark.parametrize("query", ["date=ge2026-12-01", "date=le2027-01-15", "date=ge2026-01-01&date=lt2026-02-02"])
def test_range_without_patient_is_limited(region: SearchRegion, query: str) -> None:
    with pytest.raises(TooCostly, match="31 days"):
        region.audited(query)
    (item,) = region.audit()
    assert (item["outcome"], item["target"]) == ("refused", "AuditEvent")
    region.audited(f"{query}&patient=ada")


def test_range_of_a_search_stays_fixed_over_its_pages(region: SearchRegion) -> None:
    add(region, "e-1", ago=5)
    add(region, "e-2", ago=24 * HOUR - 1)
    pages = region.pages("_count=1", audit=True)
    next(pages)
    region.now_ms += 30 * 60_000
    assert ids(next(pages)) == ["e-2"]


def test_entry_has_no_url_because_a_single_event_cannot_be_read(region: SearchRegion) -> None:
    event = add(region, str(uuid4()))
    (bundle,) = region.pages("patient=Patient/ada", audit=True)
    assert [entry["fullUrl"] for entry in bundle["entry"]] == [f"urn:uuid:{event.id}"]


def test_search_is_audited_with_its_patients(region: SearchRegion) -> None:
    region.audited("")
    region.audited("patient=ada,bea")
    events = [(accessed(item), item["action"], item["interaction"]) for item in region.audit()]
    assert sorted(events) == [
        ("AuditEvent", "E", "search-type"),
        ("Patient/ada", "E", "search-type"),
        ("Patient/bea", "E", "search-type"),
    ]


def test_failed_audit_write_fails_the_search(region: SearchRegion) -> None:
    add(region, "e-1")
    region.dynamodb.faults["put_item"] = [client_error("InternalServerError"), client_error("InternalServerError")]
    with pytest.raises(StorageFault):
        region.audited("patient=ada")


def test_cursor_is_valid_for_its_tenant_and_search_only(region: SearchRegion) -> None:
    for number in range(3):
        add(region, f"e-{number}", ago=number + 1)
        add(region, f"s-{number}", ago=number + 1, tenant="south-clinic")
    following = str(next_query(region.audited("patient=ada&_count=1")))
    with pytest.raises(Malformed):
        region.audited(following, tenant="south-clinic")
    with pytest.raises(Malformed):
        region.audited(following.replace("ada", "bea"))
    assert ids(region.audited(following)) == ["e-1"]


def test_page_by_patient_costs_one_query(region: SearchRegion) -> None:
    for number in range(30):
        add(region, f"e-{number}", ago=number)
    region.audited("patient=bea&_count=1")  # fetches the secrets
    region.calls()
    region.audited("patient=ada")
    assert region.calls() == ["query", "put_item"]


def test_unreadable_event_raises_storage_fault(region: SearchRegion) -> None:
    add(region, "e-1")
    for item in region.dynamodb.tables[AUDIT].values():
        item["action"] = {"S": "X"}
    with pytest.raises(StorageFault):
        region.audited("patient=ada")


def test_only_events_about_a_patient_are_in_the_index(region: SearchRegion) -> None:
    for record in ("Patient/ada", "Patient", "AuditEvent", "DocumentReference/letter"):
        add(region, f"of {record}", record=record)
    assert [item["event"] for item in region.audit() if "record" in item] == ["of Patient/ada"]


@pytest.mark.parametrize("ahead", [timedelta(hours=-30), timedelta(minutes=2), timedelta(days=400)])
def test_event_of_a_request_is_found_at_once_whatever_the_clock_of_its_function(
    region: SearchRegion, ahead: timedelta
) -> None:
    made = region.create()
    sent = partial(api.event, authorizer=claims(TENANT), at_ms=region.now_ms + 1000)
    region.now_ms += ahead // timedelta(milliseconds=1)
    assert region.api(sent("GET", made.location), None)["statusCode"] == 200
    region.now_ms -= ahead // timedelta(milliseconds=1) - 2000
    for query in (f"patient={id_of(made.location)}", "", "date=ge2027-01-15"):
        found = region.audited(f"{query}&_count=10")["entry"]
        assert [entry["resource"]["subtype"][0]["code"] for entry in found][-2:] == ["read", "create"]


def test_event_of_the_platform_is_found_by_its_patient_whatever_its_time(region: SearchRegion) -> None:
    add(region, "e-1")
    add(region, "e-2", ago=-400 * 24 * HOUR)
    assert ids(region.audited("patient=ada")) == ["e-2", "e-1"]


def test_events_up_to_a_minute_ahead_are_found_without_a_patient(region: SearchRegion) -> None:
    ahead = replace(add(region, "e-1"), id="e-2", at=datetime.fromtimestamp(region.now_ms / 1000 + 30, UTC))
    region.trail.put(ahead)
    assert ids(region.audited("")) == ["e-2", "e-1"]
