"""Who may search, what stands on record afterwards, and what it costs."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patient_api.contract.keys import DOCUMENT
from patient_api.errors import Forbidden, Malformed, StorageFault, TooCostly
from patient_api.http.criteria import Criteria
from unit.patient_api.fakes import AUDIT, client_error
from unit.patient_api.search.site import TENANT, Site, get, ids, link, posted


def person(family: str = "Example", **elements: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": family}], **elements}


def document(patient: str, **elements: Any) -> dict[str, Any]:
    subject = {"reference": f"Patient/{patient}"}
    return {"resourceType": "DocumentReference", "status": "current", "subject": subject, **elements}


def test_a_searchset_bundle(site: Site) -> None:
    version = site.put(person(identifier=[{"system": "urn:mrn", "value": "4711"}]), id="ada")
    bundle = site.search("identifier=urn:mrn%7C4711")
    assert bundle["type"] == "searchset"
    assert str(bundle["total"]) == "1"
    assert link(bundle, "self") == "Patient?identifier=urn%3Amrn%7C4711"
    assert link(bundle, "next") is None
    (entry,) = bundle["entry"]
    assert entry["fullUrl"] == "https://api.example.com/fhir/Patient/ada"
    assert entry["search"] == {"mode": "match"}
    assert entry["resource"]["meta"]["versionId"] == str(version.stamp)


@pytest.mark.parametrize("query", ["family=example", "_id=ada", "", "family=example&_sort=_lastUpdated"])
def test_only_the_current_version_counts(site: Site, query: str) -> None:
    site.put(person("Example"), id="ada", at=1)
    assert ids(site.search(query)) == ["ada"]
    site.put(person("Other"), id="ada", at=2)
    assert ids(site.search(query)) == ([] if "family" in query else ["ada"])
    site.delete("ada", at=3)
    empty = site.search(query)
    assert "entry" not in empty
    assert str(empty["total"]) == "0"


def test_a_total_is_given_when_it_is_known(site: Site) -> None:
    for number in range(3):
        site.put(person(), id=f"r-{number}", at=number)
    assert "total" not in site.search("family=ex&_count=2")
    assert str(site.search("family=ex&_count=3")["total"]) == "3"
    assert str(site.search("family=ex&_count=2&_sort=_lastUpdated")["total"]) == "3"
    first = site.search("_count=2")
    assert "total" not in site.search(str(link(first, "next")).partition("?")[2])


def test_every_patient_found_is_on_record(site: Site) -> None:
    site.put(person(), id="ada")
    site.put(person(), id="bea")
    site.search("family=ex")
    kept = site.events()
    assert sorted(item["record"] for item in kept) == [f"{TENANT}#Patient/ada", f"{TENANT}#Patient/bea"]
    assert {(item["action"], item["interaction"], item["outcome"]) for item in kept} == {
        ("E", "search-type", "success")
    }
    assert len({item["event"] for item in kept}) == 2


def test_a_search_that_finds_nothing_is_on_record(site: Site) -> None:
    site.search("family=nobody")
    site.search("_id=ada")
    site.search("patient=ada", kind=DOCUMENT)
    assert sorted(item["record"] for item in site.events()) == [
        f"{TENANT}#Patient",
        f"{TENANT}#Patient/ada",
        f"{TENANT}#Patient/ada",
    ]


def test_documents_are_on_record_with_their_patient(site: Site) -> None:
    site.put(document("ada"), id="letter")
    assert ids(site.search("status=current", kind=DOCUMENT)) == ["letter"]
    (item,) = site.events()
    assert (item["record"], item["entity"]) == (f"{TENANT}#Patient/ada", "DocumentReference/letter")


def test_what_cannot_be_put_on_record_is_not_handed_out(site: Site) -> None:
    site.put(person(), id="ada")
    site.dynamodb.faults["put_item"] = [client_error("InternalServerError")]
    with pytest.raises(StorageFault):
        site.search("family=ex")
    (item,) = site.events()
    assert (item["outcome"], item["status"]) == ("failure", "503")


@pytest.mark.parametrize("operation", ["query", "batch_get_item"])
def test_a_failing_store_is_on_record(site: Site, operation: str) -> None:
    site.put(person(), id="ada")
    site.dynamodb.faults[operation] = [client_error("ThrottlingException")]
    with pytest.raises(StorageFault):
        site.search("family=ex")
    (item,) = site.events()
    assert item["outcome"] == "failure"


def test_searching_needs_its_own_right(site: Site) -> None:
    with pytest.raises(Forbidden):
        site.search("family=ex", scope="system/Patient.crud system/DocumentReference.s")
    (item,) = site.events()
    assert (item["outcome"], item["action"]) == ("refused", "E")
    assert site.dynamodb.calls[0][0] == "put_item"


@pytest.mark.parametrize("query", ["family=ex", "_id=ada", "identifier=urn:mrn%7C4711", "", "birthdate=1970"])
def test_no_search_crosses_tenants(site: Site, query: str) -> None:
    resource = person(identifier=[{"system": "urn:mrn", "value": "4711"}], birthDate="1970-01-01")
    site.put(resource, id="ada", tenant="south-clinic")
    assert ids(site.search(query)) == []
    assert ids(site.search(query, tenant="south-clinic")) == ["ada"]


def test_a_form_stays_out_of_the_links(site: Site) -> None:
    for number in range(3):
        site.put(person("Secret"), id=f"r-{number}")
    first = site.post("family=Secret&_count=2")
    following = str(link(first, "next"))
    assert link(first, "self") == "Patient/_search"
    assert following.startswith("Patient/_search?_cursor=")
    assert "ecret" not in str(first["link"])
    second = site.post("family=Secret&_count=2", query=following.partition("?")[2])
    assert ids(first) + ids(second) == ["r-0", "r-1", "r-2"]
    with pytest.raises(Malformed):
        site.searches.search(posted("family=Other&_count=2", query=following.partition("?")[2]), "Patient")


class TestCursors:
    @pytest.fixture
    def cursor(self, site: Site) -> str:
        for number in range(3):
            site.put(person(), id=f"r-{number}")
            site.put(document("ada"), id=f"d-{number}")
        return str(link(site.search("family=ex&_count=1"), "next")).partition("_cursor=")[2]

    def test_of_another_search_type_or_tenant(self, site: Site, cursor: str) -> None:
        site.search(f"family=ex&_count=2&_cursor={cursor}")
        for request, kind in [
            (get(f"family=exa&_cursor={cursor}", "Patient"), "Patient"),
            (get(f"_cursor={cursor}", "Patient"), "Patient"),
            (get(f"_cursor={cursor}", DOCUMENT), DOCUMENT),
            (get(f"family=ex&_cursor={cursor}", "Patient", tenant="south-clinic"), "Patient"),
        ]:
            with pytest.raises(Malformed, match="cursor"):
                site.searches.search(request, kind)

    def test_of_everything_of_another_type(self, site: Site, cursor: str) -> None:
        assert cursor
        whole = str(link(site.search("_count=1"), "next")).partition("?")[2]
        site.search(whole)
        with pytest.raises(Malformed, match="cursor"):
            site.search(whole, kind=DOCUMENT)

    def test_expired(self, site: Site, cursor: str) -> None:
        site.now_ms += 3_602_000
        with pytest.raises(Malformed, match="expired"):
            site.search(f"family=ex&_cursor={cursor}")

    @settings(deadline=None, max_examples=200)
    @given(place=st.integers(0, 10_000), other=st.characters(categories=("L", "N")))
    def test_forged(self, place: int, other: str) -> None:
        site = Site()
        for number in range(2):
            site.put(person(), id=f"r-{number}")
        genuine = str(link(site.search("family=ex&_count=1"), "next")).partition("_cursor=")[2]
        place %= len(genuine)
        forged = genuine[:place] + other + genuine[place + 1 :]
        # The last character before the signature, and of it, holds bits that stand for nothing.
        if forged[place] != genuine[place] and place + 1 not in {genuine.index("."), len(genuine)}:
            with pytest.raises(Malformed):
                site.search(f"family=ex&_cursor={forged}")
        site.close()

    @pytest.mark.parametrize("cursor", ["", ".", "x", "x.y", "é.é", "A" * 5000, "e30.e30"])
    def test_nonsense(self, site: Site, cursor: str) -> None:
        with pytest.raises(Malformed):
            site.search(f"_cursor={cursor}")


class TestCost:
    def test_twenty_by_token_take_three_calls(self, site: Site) -> None:
        for number in range(40):
            site.put(person(), id=f"r-{number:02d}")
        site.search("family=exa&_count=1")  # fetches the secrets
        site.calls()
        bundle = site.search("family=exa")
        assert len(ids(bundle)) == 20
        (query, batch, kept) = site.dynamodb.calls
        assert [query[0], batch[0], kept[0]] == ["query", "batch_get_item", "transact_write_items"]
        assert query[1]["Limit"] == 21
        assert len(batch[1]["RequestItems"]["patient_records-test"]["Keys"]) == 21
        assert len(kept[1]["TransactItems"]) == 20

    def test_one_by_identifier(self, site: Site) -> None:
        site.put(person(identifier=[{"system": "urn:mrn", "value": "4711"}]), id="ada")
        site.calls()
        site.search("identifier=urn:mrn%7C4711&family=exa")
        assert site.calls() == ["query", "batch_get_item", "put_item"]

    def test_one_by_id(self, site: Site) -> None:
        site.put(person(), id="ada")
        site.calls()
        site.search("_id=ada")
        assert site.calls() == ["batch_get_item", "put_item"]

    def test_the_walk_reads_each_shard_once(self, site: Site) -> None:
        for number in range(100):
            site.put(person(), id=f"r-{number}", at=number)
        site.search("_count=1")
        site.calls()
        site.search("")
        assert sorted(site.calls()) == ["batch_get_item", *["query"] * 8, "transact_write_items"]

    def test_what_matches_nothing_ends_within_the_budget(self, site: Site) -> None:
        for number in range(1500):
            site.put(person(), id=f"r-{number}")
        bundle = site.search("gender=male")
        assert ids(bundle) == []
        assert link(bundle, "next")
        looked = [call for name, call in site.dynamodb.calls if name == "batch_get_item"]
        keys = sum(len(call["RequestItems"]["patient_records-test"]["Keys"]) for call in looked)
        assert 500 <= keys < 600

    def test_an_empty_window_costs_no_read(self, site: Site) -> None:
        site.search("_lastUpdated=ge2027&_lastUpdated=lt2026")
        assert site.calls() == ["put_item"]


class TestConditionalCreate:
    def test_two_matches_at_most(self, site: Site) -> None:
        for number in range(4):
            site.put(person(gender="male" if number else "female"), id=f"r-{number}")
        site.calls()
        found = site.searches.matches(TENANT, Criteria.of_header("family=Example&gender=male"))
        assert [version.key.id for version in found] == ["r-1", "r-2"]
        assert site.calls() == ["query", "batch_get_item"]
        assert site.events() == []
        assert site.searches.matches("south-clinic", Criteria.of_header("family=Example")) == []

    @pytest.mark.parametrize("criteria", ["gender=male", "name=a", "birthdate=ge1970", "_lastUpdated=ge2020"])
    def test_criteria_that_no_consistent_read_can_answer(self, site: Site, criteria: str) -> None:
        with pytest.raises(Malformed):
            site.searches.matches(TENANT, Criteria.of_header(criteria))

    def test_too_many_candidates(self, site: Site) -> None:
        for number in range(1001):
            site.put(person(), id=f"r-{number}")
        with pytest.raises(TooCostly):
            site.searches.matches(TENANT, Criteria.of_header("family=Example&gender=male"))


def test_no_key_holds_what_was_asked(site: Site) -> None:
    site.put(person("Zzyzx", identifier=[{"system": "urn:mrn", "value": "MRN-4711"}], birthDate="1970-01-01"), id="ada")
    site.calls()
    site.search("family=zzyzx&identifier=urn:mrn%7CMRN-4711&birthdate=1970")
    asked = str([call for call in site.dynamodb.calls if call[0] != "put_item"]).lower()
    assert "zzyz" not in asked
    assert "mrn-4711" not in asked
    assert "zzyz" not in str(site.dynamodb.tables[AUDIT]).lower()
