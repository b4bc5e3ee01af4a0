"""Totals and their cost, and tokens of a whole system."""

from typing import Any

import pytest

from patient_api.contract.keys import DOCUMENT
from patient_api.errors import Malformed, TooCostly
from patient_api.http.criteria import Criteria
from unit.patient_api.fakes.search import TENANT, SearchRegion, ids, next_query, person, posted

MRN = "urn:mrn"


def identified(system: str | None, value: str) -> dict[str, Any]:
    return person(identifier=[{"value": value} | ({"system": system} if system else {})])


def counted(bundle: dict[str, Any]) -> int:
    assert bundle["type"] == "searchset"
    assert "entry" not in bundle
    assert [one["relation"] for one in bundle["link"]] == ["self"]
    return int(bundle["total"])


@pytest.mark.parametrize(
    "control",
    ["_count=0", "_summary=count", "_summary=count&_count=5", "_count=0&_total=none", "_count=0&_totalMethod=count"],
)
@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("family=ex", 30),
        ("family=ex&gender=male", 10),
        ("gender=male", 11),
        ("", 31),
        ("_id=r-00", 1),
        ("_id=unknown", 0),
        ("family=ex&_sort=-_lastUpdated", 30),
        ("_lastUpdated=lt2027-01-15T08:00:00.010Z", 10),
    ],
)
def test_search_for_the_total_alone_returns_no_entries(
    region: SearchRegion, control: str, query: str, total: int
) -> None:
    for number in range(30):
        region.write(person(gender="female" if number % 3 else "male"), id=f"r-{number:02d}", at=number)
    region.write(person("Other", gender="male"), id="other", at=100)
    region.write(person(), id="gone", at=5)
    region.delete("gone", at=50)
    assert counted(region.search("&".join(filter(None, [query, control])))) == total


@pytest.mark.parametrize("query", ["family=ex&_count=2", "_count=2", "family=ex&_count=2&_sort=_lastUpdated"])
def test_accurate_total_is_on_every_page(region: SearchRegion, query: str) -> None:
    names = region.fill(5, person())
    found = list(region.pages(f"{query}&_total=accurate"))
    assert {str(page["total"]) for page in found} == {"5"}
    assert sorted(name for page in found for name in ids(page)) == names


@pytest.mark.parametrize("total", ["none", "estimate"])
def test_optional_total_costs_no_further_calls(region: SearchRegion, total: str) -> None:
    region.fill(3, person())
    region.search("family=ex&_count=1")
    region.calls()
    region.search(f"family=ex&_count=1&_total={total}")
    assert region.calls() == ["query", "batch_get_item", "put_item"]


def test_count_is_audited_once_without_patients(region: SearchRegion) -> None:
    region.write(person(), id="ada")
    assert counted(region.search("family=ex&_summary=count")) == 1
    assert [(item["target"], item["action"]) for item in region.audit()] == [("Patient", "E")]
    assert counted(region.search("_id=ada&_summary=count")) == 1
    assert f"{TENANT}#Patient/ada" in [item.get("record") for item in region.audit()]


@pytest.mark.parametrize("query", ["family=ex", "gender=male", "", "birthdate=ge1970"])
@pytest.mark.parametrize("control", ["_summary=count", "_total=accurate"])
def test_count_of_too_many_records_is_rejected(region: SearchRegion, query: str, control: str) -> None:
    region.fill(1000, person())
    expected = {"family=ex": "1000", "": "1000"}.get(query, "0")
    query = "&".join(filter(None, [query, control]))
    assert str(region.search(query)["total"]) == expected
    region.write(person(), id="one-more")
    region.calls()
    with pytest.raises(TooCostly, match="1000 records"):
        region.search(query)
    keys = [
        call["RequestItems"]["patient_records-test"]["Keys"] for name, call in region.dynamodb.calls if "batch" in name
    ]
    assert sum(map(len, keys)) <= 500 + 100
    assert [item["status"] for item in region.audit(outcome="refused")] == ["400"]


def test_record_that_changes_during_count_counts_once(region: SearchRegion) -> None:
    region.fill(950, person(), width=3)
    changed: list[str] = []

    def before(operation: str, _request: object) -> None:
        # Each of the eight shards has been read once, and has more records than one read returns.
        if operation == "query" and not changed and len(region.dynamodb.calls) > 8:
            changed.append(operation)
            region.write(person(), id="r-000", at=5000)

    region.calls()
    region.dynamodb.before = before
    assert counted(region.search("_summary=count")) == 950
    assert changed


@pytest.mark.parametrize("query", ["_summary=true", "_summary=data", "_total=exact", "_count=0&_cursor=x", "_count=-0"])
def test_invalid_total_controls_are_rejected(region: SearchRegion, query: str) -> None:
    with pytest.raises(Malformed):
        region.search(query)


def test_form_can_request_a_total(region: SearchRegion) -> None:
    region.write(person(), id="ada")
    assert counted(region.post("family=ex&_summary=count")) == 1
    with pytest.raises(Malformed, match="empty"):
        region.searches.search(posted(""), "Patient")


class TestTrail:
    def test_audit_search_returns_total(self, region: SearchRegion) -> None:
        region.write(person(), id="ada")
        for _ in range(3):
            region.search("_id=ada")
        assert counted(region.audited("patient=ada&_summary=count")) == 3
        assert counted(region.audited("outcome=0&_count=0")) == 4
        page = region.audited("patient=ada&_count=1&_total=accurate")
        total = str(page["total"])
        following = next_query(page) or ""
        assert (len(page["entry"]), total) == (1, "4")
        assert int(str(region.audited(following)["total"])) >= 4

    def test_audit_count_of_too_many_events_is_rejected(self, region: SearchRegion) -> None:
        region.write(person(), id="ada")
        for _ in range(520):
            region.search("_id=ada")
        with pytest.raises(TooCostly, match="count"):
            region.audited("patient=ada&_summary=count")
        with pytest.raises(TooCostly, match="count"):
            region.audited("patient=ada&_count=1&_total=accurate")

    def test_audit_count_of_too_many_hours_is_rejected(self, region: SearchRegion) -> None:
        with pytest.raises(TooCostly, match="count"):
            region.audited("date=ge2027-01-01&date=lt2027-01-20&_summary=count")


class TestSystems:
    """`system|` matches every code of the system (https://hl7.org/fhir/R4/search.html#token)."""

    @pytest.fixture(autouse=True)
    def people(self, region: SearchRegion) -> None:
        region.write(identified(MRN, "4711"), id="ada", at=1)
        region.write(identified(MRN, "4712"), id="bea", at=2)
        region.write(identified("urn:other", "4711"), id="cora", at=3)
        region.write(identified(None, "4711"), id="dora", at=4)
        region.write({**identified(MRN, ""), "identifier": [{"system": MRN}]}, id="eva", at=5)

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            ("urn:mrn|", ["ada", "bea"]),
            ("urn:mrn|,urn:other|4711", ["ada", "bea", "cora"]),
            ("urn:mrn|4711", ["ada"]),
            ("|4711", ["dora"]),
            ("4711", ["ada", "cora", "dora"]),
            ("urn:MRN|", []),
            ("urn:mr|", []),
        ],
    )
    def test_identifiers_match_by_system(self, region: SearchRegion, value: str, found: list[str]) -> None:
        query = f"identifier={value.replace('|', '%7C')}"
        assert sorted(ids(region.search(query))) == found
        assert counted(region.search(f"{query}&_summary=count")) == len(found)

    def test_other_criterion_still_uses_the_index(self, region: SearchRegion) -> None:
        region.calls()
        assert ids(region.search("identifier=urn:mrn%7C&identifier=4712")) == ["bea"]
        assert region.calls()[:2] == ["query", "batch_get_item"]

    def test_system_alone_is_read_page_by_page(self, region: SearchRegion) -> None:
        for number in range(600):
            region.write(person(), id=f"r-{number}", at=10 + number)
        page = region.search("identifier=urn:mrn%7C&_sort=-_lastUpdated")
        assert ids(page) == []
        following = next_query(page) or ""
        assert sorted(ids(region.search(following))) == ["ada", "bea"]

    @pytest.mark.parametrize("value", ["|", "urn:mrn|,", "|,urn:mrn|", "a|b|"])
    def test_value_without_system_and_code_is_rejected(self, region: SearchRegion, value: str) -> None:
        with pytest.raises(Malformed):
            region.search(f"identifier={value.replace('|', '%7C')}")

    def test_conditional_create_needs_an_identifier_value(self, region: SearchRegion) -> None:
        with pytest.raises(Malformed, match="identifier"):
            region.searches.matches(TENANT, Criteria.of_header("identifier=urn:mrn|"))

    def test_every_token_parameter_matches_a_system(self, region: SearchRegion) -> None:
        region.write(person(gender="male"), id="finn")
        assert ids(region.search("gender=http://hl7.org/fhir/administrative-gender%7C")) == ["finn"]
        coded = {"resourceType": DOCUMENT, "status": "current", "subject": {"reference": "Patient/ada"}}
        region.write({**coded, "type": {"coding": [{"system": "http://loinc.org", "code": "1"}]}}, id="letter")
        assert ids(region.search("type=http://loinc.org%7C", kind=DOCUMENT)) == ["letter"]
        assert ids(region.search("type=http://loinc.net%7C", kind=DOCUMENT)) == []
        region.audited("outcome=http://hl7.org/fhir/audit-event-outcome%7C")
