"""Searches: authorization, audit events, tenants, cursors and cost."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patient_api.contract.keys import DOCUMENT
from patient_api.errors import Malformed, StorageFault
from patient_api.http.criteria import Criteria
from unit.patient_api.fakes.api import accessed
from unit.patient_api.fakes.aws import AUDIT, client_error
from unit.patient_api.fakes.search import TENANT, SearchRegion, get, ids, link, next_query, person, posted


def document(patient: str, **elements: Any) -> dict[str, Any]:
    subject = {"reference": f"Patient/{patient}"}
    return {"resourceType": "DocumentReference", "status": "current", "subject": subject, **elements}


def test_search_returns_searchset_bundle(region: SearchRegion) -> None:
    version = region.write(person(identifier=[{"system": "urn:mrn", "value": "4711"}]), id="ada")
    bundle = region.search("identifier=urn:mrn%7C4711")
    assert bundle["type"] == "searchset"
    assert str(bundle["total"]) == "1"
    assert link(bundle, "self") == "Patient?identifier=urn%3Amrn%7C4711"
    assert link(bundle, "next") is None
    (entry,) = bundle["entry"]
    assert entry["fullUrl"] == "https://api.example.com/fhir/Patient/ada"
    assert entry["search"] == {"mode": "match"}
    assert entry["resource"]["meta"]["versionId"] == str(version.stamp)


@pytest.mark.parametrize("query", ["family=example", "_id=ada", "", "family=example&_sort=_lastUpdated"])
def test_search_matches_current_versions_only(region: SearchRegion, query: str) -> None:
    region.write(person("Example"), id="ada", at=1)
    assert ids(region.search(query)) == ["ada"]
    region.write(person("Other"), id="ada", at=2)
    assert ids(region.search(query)) == ([] if "family" in query else ["ada"])
    region.delete("ada", at=3)
    empty = region.search(query)
    assert "entry" not in empty
    assert str(empty["total"]) == "0"


def test_total_is_returned_when_known(region: SearchRegion) -> None:
    region.fill(3, person())
    assert "total" not in region.search("family=ex&_count=2")
    assert str(region.search("family=ex&_count=3")["total"]) == "3"
    assert str(region.search("family=ex&_count=2&_sort=_lastUpdated")["total"]) == "3"
    first = region.search("_count=2")
    assert "total" not in region.search(str(next_query(first)))


def test_each_result_is_audited(region: SearchRegion) -> None:
    region.write(person(), id="ada")
    region.write(person(), id="bea")
    region.search("family=ex")
    events = region.audit()
    assert sorted(item["record"] for item in events) == [f"{TENANT}#Patient/ada", f"{TENANT}#Patient/bea"]
    assert {(item["action"], item["interaction"], item["outcome"]) for item in events} == {
        ("E", "search-type", "success")
    }
    assert len({item["event"] for item in events}) == 2


def test_search_without_results_is_audited(region: SearchRegion) -> None:
    region.search("family=unknown")
    region.search("_id=ada")
    region.search("patient=ada", kind=DOCUMENT)
    assert sorted(accessed(item) for item in region.audit()) == [
        "Patient",
        "Patient/ada",
        "Patient/ada",
    ]


def test_documents_are_audited_with_their_patient(region: SearchRegion) -> None:
    region.write(document("ada"), id="letter")
    assert ids(region.search("status=current", kind=DOCUMENT)) == ["letter"]
    (item,) = region.audit()
    assert (item["record"], item["entity"]) == (f"{TENANT}#Patient/ada", "DocumentReference/letter")


def test_failed_audit_write_fails_the_search(region: SearchRegion) -> None:
    region.write(person(), id="ada")
    region.dynamodb.faults["put_item"] = [client_error("InternalServerError")]
    with pytest.raises(StorageFault):
        region.search("family=ex")
    (item,) = region.audit()
    assert (item["outcome"], item["status"]) == ("failure", "503")


@pytest.mark.parametrize("operation", ["query", "batch_get_item"])
def test_storage_fault_is_audited(region: SearchRegion, operation: str) -> None:
    region.write(person(), id="ada")
    region.dynamodb.faults[operation] = [client_error("ThrottlingException")]
    with pytest.raises(StorageFault):
        region.search("family=ex")
    (item,) = region.audit()
    assert item["outcome"] == "failure"


def test_parameters_of_a_form_do_not_appear_in_links(region: SearchRegion) -> None:
    region.fill(3, person("Secret"))
    first = region.post("family=Secret&_count=2")
    following = str(link(first, "next"))
    assert link(first, "self") == "Patient/_search"
    assert following.startswith("Patient/_search?_cursor=")
    assert "ecret" not in str(first["link"])
    second = region.post("family=Secret&_count=2", query=following.partition("?")[2])
    assert ids(first) + ids(second) == ["r-0", "r-1", "r-2"]
    with pytest.raises(Malformed):
        region.searches.search(posted("family=Other&_count=2", query=following.partition("?")[2]), "Patient")


class TestCursors:
    @pytest.fixture
    def cursor(self, region: SearchRegion) -> str:
        region.fill(3, person())
        for number in range(3):
            region.write(document("ada"), id=f"d-{number}")
        return str(link(region.search("family=ex&_count=1"), "next")).partition("_cursor=")[2]

    def test_cursor_of_another_search_type_or_tenant_is_rejected(self, region: SearchRegion, cursor: str) -> None:
        region.search(f"family=ex&_count=2&_cursor={cursor}")
        for request, kind in [
            (get(f"family=exa&_cursor={cursor}", "Patient"), "Patient"),
            (get(f"_cursor={cursor}", "Patient"), "Patient"),
            (get(f"_cursor={cursor}", DOCUMENT), DOCUMENT),
            (get(f"family=ex&_cursor={cursor}", "Patient", tenant="south-clinic"), "Patient"),
        ]:
            with pytest.raises(Malformed, match="cursor"):
                region.searches.search(request, kind)

    def test_cursor_of_another_type_is_rejected(self, region: SearchRegion, cursor: str) -> None:
        assert cursor
        whole = str(next_query(region.search("_count=1")))
        region.search(whole)
        with pytest.raises(Malformed, match="cursor"):
            region.search(whole, kind=DOCUMENT)

    def test_expired_cursor_is_rejected(self, region: SearchRegion, cursor: str) -> None:
        region.now_ms += 3_602_000
        with pytest.raises(Malformed, match="expired"):
            region.search(f"family=ex&_cursor={cursor}")

    @settings(deadline=None, max_examples=200)
    @given(place=st.integers(0, 10_000), other=st.characters(categories=("L", "N")))
    def test_forged_cursor_is_rejected(self, place: int, other: str) -> None:
        region = SearchRegion()
        region.fill(2, person())
        genuine = str(link(region.search("family=ex&_count=1"), "next")).partition("_cursor=")[2]
        place %= len(genuine)
        forged = genuine[:place] + other + genuine[place + 1 :]
        # The last character of the payload and of the signature has unused bits.
        if forged[place] != genuine[place] and place + 1 not in {genuine.index("."), len(genuine)}:
            with pytest.raises(Malformed):
                region.search(f"family=ex&_cursor={forged}")
        region.close()

    @pytest.mark.parametrize("cursor", ["", ".", "x", "x.y", "é.é", "A" * 5000, "e30.e30"])
    def test_malformed_cursor_is_rejected(self, region: SearchRegion, cursor: str) -> None:
        with pytest.raises(Malformed):
            region.search(f"_cursor={cursor}")


class TestCost:
    def test_page_of_twenty_by_token_takes_three_calls(self, region: SearchRegion) -> None:
        region.fill(40, person(), width=2)
        region.search("family=exa&_count=1")  # fetches the secrets
        region.calls()
        bundle = region.search("family=exa")
        assert len(ids(bundle)) == 20
        (query, batch, events) = region.dynamodb.calls
        assert [query[0], batch[0], events[0]] == ["query", "batch_get_item", "transact_write_items"]
        assert query[1]["Limit"] == 21
        assert len(batch[1]["RequestItems"]["patient_records-test"]["Keys"]) == 21
        assert len(events[1]["TransactItems"]) == 20

    def test_search_by_identifier_reads_one_candidate(self, region: SearchRegion) -> None:
        region.write(person(identifier=[{"system": "urn:mrn", "value": "4711"}]), id="ada")
        region.calls()
        region.search("identifier=urn:mrn%7C4711&family=exa")
        assert region.calls() == ["query", "batch_get_item", "put_item"]

    def test_search_by_id_needs_no_query(self, region: SearchRegion) -> None:
        region.write(person(), id="ada")
        region.calls()
        region.search("_id=ada")
        assert region.calls() == ["batch_get_item", "put_item"]

    def test_search_by_update_time_reads_each_shard_once(self, region: SearchRegion) -> None:
        region.fill(100, person())
        region.search("_count=1")
        region.calls()
        region.search("")
        assert sorted(region.calls()) == ["batch_get_item", *["query"] * 8, "transact_write_items"]

    def test_search_without_results_stays_within_the_budget(self, region: SearchRegion) -> None:
        region.fill(1500, person())
        bundle = region.search("gender=male")
        assert ids(bundle) == []
        assert link(bundle, "next")
        reads = [call for name, call in region.dynamodb.calls if name == "batch_get_item"]
        keys = sum(len(call["RequestItems"]["patient_records-test"]["Keys"]) for call in reads)
        assert 500 <= keys < 600

    def test_empty_time_range_costs_no_read(self, region: SearchRegion) -> None:
        region.search("_lastUpdated=ge2027&_lastUpdated=lt2026")
        assert region.calls() == ["put_item"]


class TestConditionalCreate:
    def test_criteria_match_at_most_two_records(self, region: SearchRegion) -> None:
        for number in range(4):
            region.write(person(gender="male" if number else "female"), id=f"r-{number}")
        region.calls()
        found = region.searches.matches(TENANT, Criteria.of_header("family=Example&gender=male"))
        assert [version.key.id for version in found] == ["r-1", "r-2"]
        assert region.calls() == ["query", "batch_get_item"]
        assert region.audit() == []
        assert region.searches.matches("south-clinic", Criteria.of_header("family=Example")) == []


def test_keys_contain_no_values_of_the_search(region: SearchRegion) -> None:
    region.write(
        person("Zzyzx", identifier=[{"system": "urn:mrn", "value": "MRN-4711"}], birthDate="1970-01-01"), id="ada"
    )
    region.calls()
    region.search("family=zzyzx&identifier=urn:mrn%7CMRN-4711&birthdate=1970")
    requests = str([call for call in region.dynamodb.calls if call[0] != "put_item"]).lower()
    assert "zzyz" not in requests
    assert "mrn-4711" not in requests
    assert "zzyz" not in str(region.dynamodb.tables[AUDIT]).lower()
