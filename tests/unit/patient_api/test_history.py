"""Histories of records, and updates that merge versions."""

from typing import Any

import pytest

from patient_api.clock import Stamp
from patient_api.contract.keys import OPEN_CONFLICTS, PATIENT
from patient_api.store.model import Marker, RecordKey, marker_item
from unit.patient_api.fakes.api import UNKNOWN, Platform, head_key, id_of, patient
from unit.patient_api.fakes.aws import PEER, START_MS
from unit.patient_api.fakes.search import link, next_query


def extensions(entry: dict[str, Any], name: str) -> list[str]:
    """Return the versions that an entry names in extensions: `follows` or `concurrent-with`."""
    found = entry.get("extension", [])
    return [extension["valueId"] for extension in found if extension["url"] == f"urn:healthcare-dr:{name}"]


def test_history_has_every_version_newest_first(platform: Platform) -> None:
    path, etag = platform.made()
    second = platform.put(path, etag, active=True)
    platform.call("DELETE", path)
    history = platform.call("GET", f"{path}/_history").json
    assert (history["resourceType"], history["type"], history["total"]) == ("Bundle", "history", 3)
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert [entry["response"]["status"] for entry in history["entry"]] == ["204", "200", "201"]
    assert "resource" not in history["entry"][0]
    assert history["entry"][1]["resource"] == second.json
    assert history["entry"][2]["response"]["etag"] == etag
    assert {entry["fullUrl"] for entry in history["entry"]} == {f"https://api.example.com{path}"}


def test_long_history_is_paged(platform: Platform) -> None:
    path, etag = platform.made()
    stamps = [etag]
    for number in range(6):
        platform.now_ms += number % 2
        stamps.append(platform.put(path, stamps[-1], active=bool(number % 2)).headers["etag"])
    seen: list[str] = []
    query: str | None = "_count=3"
    while query:
        page = platform.call("GET", f"{path}/_history", query=query).json
        assert "total" not in page
        seen += [entry["response"]["etag"] for entry in page["entry"]]
        history = f"{path.removeprefix('/fhir/')}/_history?"
        assert str(link(page, "next") or history).startswith(history)
        query = next_query(page)
    assert seen == stamps[::-1]


def test_cursor_of_another_record_returns_400(platform: Platform) -> None:
    one, etag = platform.made()
    platform.put(one, etag)
    other, _ = platform.made()
    link = platform.call("GET", f"{one}/_history", query="_count=1").json["link"][1]["url"]
    query = link.partition("?")[2]
    assert platform.call("GET", f"{one}/_history", query=query).status == 200
    assert platform.call("GET", f"{other}/_history", query=query).status == 400
    platform.now_ms += 3_601_000
    assert platform.call("GET", f"{one}/_history", query=query).status == 400


@pytest.mark.parametrize(
    "query",
    ["_count=0&_cursor=x", "_count=1&_count=2", "_count=²", "_since=2020", "_cursor=a.b"],
)
def test_unsupported_parameter_returns_400(platform: Platform, query: str) -> None:
    path, _ = platform.made()
    assert platform.call("GET", f"{path}/_history", query=query).status == 400
    assert platform.call("GET", f"/fhir/Patient/{UNKNOWN}/_history").status == 404


@pytest.mark.trap(1)
def test_update_that_names_merged_versions_resolves_a_conflict(platform: Platform) -> None:
    path, etag = platform.made()
    sibling = f"{START_MS + 5}-0000-{PEER}"
    platform.arrive(path, sibling, etag[3:-1], active=True)
    own = platform.put(path, etag, gender="other")
    current = platform.call("GET", path).headers["etag"]
    assert current == f'W/"{sibling}"'
    platform.records[head_key(path)]["version"] = {"S": sibling}
    headers = {"if-match": current, "merges": own.headers["etag"]}
    merged = platform.update(path, headers, active=True, gender="other")
    assert merged.status == 200, merged.body
    assert platform.versions()[-1]["merges"] == {"L": [{"S": own.json["meta"]["versionId"]}]}
    assert merged.json["meta"]["versionId"] > sibling
    shown = platform.call("GET", f"{path}/_history").json["entry"]
    assert [extensions(entry, "follows") for entry in shown] == [
        [sibling, own.json["meta"]["versionId"]],
        [etag[3:-1]],
        [etag[3:-1]],
        [],
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_equal_siblings_are_not_concurrent_on_any_page(platform: Platform, count: int) -> None:
    path, etag = platform.made()
    own = platform.put(path, etag, active=True).json["meta"]["versionId"]
    equal, other, absent = (f"{START_MS + later}-0000-{PEER}" for later in (5, 6, 7))
    platform.arrive(path, equal, etag[3:-1], active=True)
    platform.arrive(path, other, etag[3:-1], active=False)
    key, newest = RecordKey("north-clinic", PATIENT, id_of(path)), Stamp.parse(absent)
    assert newest is not None
    marker = Marker(key, f"c#{etag[3:-1]}", newest, OPEN_CONFLICTS, members=[own, equal, other, absent])
    platform.add(marker_item(marker))
    seen: dict[str, list[str]] = {}
    query: str | None = f"_count={count}"
    while query:
        page = platform.call("GET", f"{path}/_history", query=query).json
        seen |= {entry["response"]["etag"][3:-1]: extensions(entry, "concurrent-with") for entry in page["entry"]}
        query = next_query(page)
    # The fourth sibling has not arrived.
    assert seen == {other: [own, equal, absent], equal: [other, absent], own: [other, absent], etag[3:-1]: []}


@pytest.mark.parametrize("newest", ["PUT", "DELETE"])
def test_deletion_that_names_merged_versions_resolves_a_conflict(platform: Platform, newest: str) -> None:
    path, etag = platform.made()
    peer = f"{START_MS + (5000 if newest == 'PUT' else 5)}-0000-{PEER}"
    platform.now_ms += 1000
    own = platform.call("DELETE", path, headers={"if-match": etag}).headers["etag"]
    platform.arrive(path, peer, etag[3:-1], active=True)
    current, other = sorted([own, f'W/"{peer}"'], reverse=True)
    platform.records[head_key(path)]["version"] = {"S": current[3:-1]}
    headers = {"if-match": current, "merges": other}
    merged = platform.call("DELETE", path, headers=headers)
    assert (merged.status, len(platform.versions())) == (204, 4), merged.body
    last = max(platform.versions(), key=lambda item: item["version"]["S"])
    assert (last["replaces"], last["merges"]) == ({"S": current[3:-1]}, {"L": [{"S": other[3:-1]}]})
    assert ("deleted" in last, merged.headers["etag"]) == (True, f'W/"{last["version"]["S"]}"')
    # The conflict is resolved, so that a repetition adds no version.
    again = platform.call("DELETE", path, headers={"merges": f"{other}, {other}"})
    assert (again.status, again.headers["etag"], len(platform.versions())) == (204, merged.headers["etag"], 4)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    ("merges", "status"),
    [
        ("x", 400),
        ("", 400),
        (f'W/"{START_MS}-0000-us-east-1", x', 400),
        (", ".join([f'W/"{START_MS}-0000-us-east-1"'] * 11), 400),
        ('W/"1"', 422),
        (f'W/"{START_MS}-0044-us-east-1"', 422),
    ],
)
def test_invalid_merge_is_rejected(platform: Platform, method: str, merges: str, status: int) -> None:
    path, etag = platform.made()
    body = patient(id=id_of(path)) if method == "PUT" else None
    assert platform.call(method, path, body, headers={"if-match": etag, "merges": merges}).status == status
    assert len(platform.versions()) == 1
