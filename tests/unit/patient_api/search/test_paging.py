"""Pages contain each record that does not change meanwhile once, in any order, page size and ties."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patient_api.errors import TooCostly
from patient_api.search import engine
from unit.patient_api.fakes.search import SearchRegion, ids, link, next_query

# (milliseconds, counter, name), with few times, so that many records share a stamp.
RECORDS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 1), st.sampled_from(["Abel", "Abend", "Baker"])), max_size=40
)
# Reads by update time and by tokens, of several partitions, and with candidates that do not match.
QUERIES = st.sampled_from(
    [
        "",
        "_sort=-_lastUpdated",
        "family=Ab",
        "family=Ab,Ba",
        "family=Abel,Ab",
        "family=Abel,Ab&_sort=_lastUpdated",
        "family=Abel,Abend&_sort=_lastUpdated",
        "family=Ab&_sort=-_lastUpdated",
        "gender=female",
        "_lastUpdated=ge2027-01-15T08:00:00.001Z&gender=female",
        "_lastUpdated=lt2027-01-15T08:00:00.002Z&_sort=-_lastUpdated",
        "birthdate=ge1970&birthdate=lt1973",
        "_id=r-3,r-1,r-2,r-99",
        "_id=r-3,r-1,r-2&_sort=-_lastUpdated",
        "family=Abel&gender=male",
    ]
)


def region_with(records: list[tuple[int, int, str]]) -> SearchRegion:
    region = SearchRegion()
    for number, (at, counter, family) in enumerate(records):
        resource = {
            "resourceType": "Patient",
            "name": [{"family": family}],
            "gender": "female" if number % 3 else "male",
            "birthDate": f"197{number % 5}-01-01",
        }
        # Ids are not in the order of insertion.
        region.write(resource, id=f"r-{number * 7 % 41}", at=at, counter=counter)
    return region


def pages(region: SearchRegion, query: str) -> list[list[str]]:
    return [ids(bundle) for bundle in region.pages(query)]


def expected_ids(records: list[tuple[int, int, str]], query: str) -> list[str]:
    parameters = dict(parse_qsl(query))
    found = []
    for number, (at, counter, family) in enumerate(records):
        name = f"r-{number * 7 % 41}"
        fits = [
            any(family.startswith(beginning) for beginning in parameters.get("family", family).split(",")),
            parameters.get("gender", "female" if number % 3 else "male") == ("female" if number % 3 else "male"),
            name in parameters.get("_id", name).split(","),
            number % 5 < 3 or "birthdate" not in parameters,
            at >= 1 or not parameters.get("_lastUpdated", "").startswith("ge"),
            at < 2 or not parameters.get("_lastUpdated", "").startswith("lt"),
        ]
        if all(fits):
            found.append((at, counter, name))
    indexed = "_id" in parameters or "family" in parameters or "birthdate" in parameters
    if indexed and "_sort" not in parameters:
        return sorted(name for _, _, name in found)
    return [name for _, _, name in sorted(found, reverse=parameters.get("_sort", "").startswith("-"))]


@settings(deadline=None, max_examples=150)
@given(RECORDS, QUERIES, st.integers(1, 7))
def test_pages_are_complete_without_duplicates_and_in_order(
    records: list[tuple[int, int, str]], query: str, count: int
) -> None:
    region = region_with(records)
    got = pages(region, f"{query}&_count={count}")
    region.close()
    assert [name for page in got for name in page] == expected_ids(records, query)
    assert all(len(page) == count for page in got[:-1])


@settings(deadline=None, max_examples=40)
@given(RECORDS, QUERIES, st.integers(1, 5), st.integers(1, 6))
def test_budget_shortens_pages_without_losing_results(
    records: list[tuple[int, int, str]], query: str, count: int, budget: int
) -> None:
    region = region_with(records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "BUDGET", budget)
        got = pages(region, f"{query}&_count={count}")
    region.close()
    assert [name for page in got for name in page] == expected_ids(records, query)


def test_more_records_of_one_stamp_than_one_read_are_paged(region: SearchRegion) -> None:
    names = [f"r-{number:03d}" for number in range(300)]
    for name in names:
        region.write({"resourceType": "Patient"}, id=name)
    got = pages(region, "_count=10")
    assert [name for page in got for name in page] == names


def test_page_stays_below_the_response_limit_of_lambda(region: SearchRegion) -> None:
    for number in range(12):
        note = {"resourceType": "Patient", "name": [{"family": "Long", "text": '"' * 125_000}]}
        region.write(note, id=f"r-{number:02d}", at=number)
    for query in ("family=long", "family=long&_sort=_lastUpdated", ""):
        got = pages(region, query)
        assert [name for page in got for name in page] == [f"r-{number:02d}" for number in range(12)]
        assert len(got) == 2


def test_record_that_changes_between_pages_has_its_current_state(region: SearchRegion) -> None:
    region.fill(6, {"resourceType": "Patient", "gender": "male"})
    first = region.search("gender=male&_count=3")
    region.write({"resourceType": "Patient", "gender": "female"}, id="r-4", at=10)
    second = region.search(str(next_query(first)))
    assert (ids(first), ids(second)) == (["r-0", "r-1", "r-2"], ["r-3", "r-5"])


def test_sorting_too_many_records_is_rejected_with_a_remedy(region: SearchRegion) -> None:
    region.fill(1001, {"resourceType": "Patient", "name": [{"family": "Common"}]})
    region.calls()
    with pytest.raises(TooCostly, match="more letters of a name"):
        region.search("family=Common&_sort=_lastUpdated")
    assert region.calls() == ["query", "put_item"]
    assert region.search("family=Common")["entry"]


def test_next_link_repeats_the_search(region: SearchRegion) -> None:
    region.fill(3, {"resourceType": "Patient", "name": [{"family": "Öz & Co=1"}]})
    first = region.search(urlencode({"family": "Öz & Co=1", "_count": "1"}))
    assert str(link(first, "next")).startswith("Patient?family=%C3%96z+%26+Co%3D1&_count=1&_cursor=")
    second = region.search(str(next_query(first)))
    assert str(link(second, "next")).count("_cursor") == 1
