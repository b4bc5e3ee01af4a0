"""The history of a record, and what an update merges in it."""

from typing import Any

import pytest

from unit.patient_api.changes import UNKNOWN, arrive, head_key, made, put
from unit.patient_api.fakes import PEER, RECORDS, START_MS
from unit.patient_api.whole_api import Platform, patient


def followed(entry: dict[str, Any]) -> list[str]:
    """The versions that one of a history names as those it replaced or merged."""
    extensions = entry.get("extension", [])
    return [found["valueId"] for found in extensions if found["url"] == "urn:healthcare-dr:follows"]


def test_the_history_shows_every_version_newest_first(platform: Platform) -> None:
    path, etag = made(platform)
    second = put(platform, path, etag, active=True)
    platform.call("DELETE", path)
    history = platform.call("GET", f"{path}/_history").json
    assert (history["resourceType"], history["type"], history["total"]) == ("Bundle", "history", 3)
    assert [entry["request"]["method"] for entry in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert [entry["response"]["status"] for entry in history["entry"]] == ["204", "200", "201"]
    assert "resource" not in history["entry"][0]
    assert history["entry"][1]["resource"] == second.json
    assert history["entry"][2]["response"]["etag"] == etag
    assert {entry["fullUrl"] for entry in history["entry"]} == {f"https://api.example.com{path}"}


def test_a_long_history_comes_in_pages(platform: Platform) -> None:
    path, etag = made(platform)
    stamps = [etag]
    for number in range(6):
        platform.now_ms += number % 2
        stamps.append(put(platform, path, stamps[-1], active=bool(number % 2)).headers["etag"])
    seen: list[str] = []
    url, query = f"{path}/_history", "_count=3"
    while True:
        page = platform.call("GET", url, query=query).json
        assert "total" not in page
        seen += [entry["response"]["etag"] for entry in page["entry"]]
        following = [link["url"] for link in page["link"] if link["relation"] == "next"]
        if not following:
            break
        assert following[0].startswith(f"https://api.example.com{path}/_history?")
        query = following[0].partition("?")[2]
    assert seen == stamps[::-1]


def test_a_cursor_of_another_record_is_refused(platform: Platform) -> None:
    one, etag = made(platform)
    put(platform, one, etag)
    other, _ = made(platform)
    link = platform.call("GET", f"{one}/_history", query="_count=1").json["link"][1]["url"]
    query = link.partition("?")[2]
    assert platform.call("GET", f"{one}/_history", query=query).status == 200
    assert platform.call("GET", f"{other}/_history", query=query).status == 400
    platform.now_ms += 3_601_000
    assert platform.call("GET", f"{one}/_history", query=query).status == 400


@pytest.mark.parametrize(
    "query",
    ["_count=0&_cursor=x", "_count=1&_count=2", "_count=x", "_count=-1", "_count=²", "_since=2020", "_cursor=a.b"],
)
def test_what_a_history_does_not_take(platform: Platform, query: str) -> None:
    path, _ = made(platform)
    assert platform.call("GET", f"{path}/_history", query=query).status == 400
    assert platform.call("GET", f"/fhir/Patient/{UNKNOWN}/_history").status == 404


@pytest.mark.trap(1)
def test_an_update_settles_a_conflict_by_naming_what_it_merges(platform: Platform) -> None:
    path, etag = made(platform)
    sibling = f"{START_MS + 5}-0000-{PEER}"
    arrive(platform, path, sibling, etag[3:-1], active=True)
    own = put(platform, path, etag, gender="other")
    current = platform.call("GET", path).headers["etag"]
    assert current == f'W/"{sibling}"'
    body = patient(id=path.rpartition("/")[2], active=True, gender="other")
    headers = {"if-match": current, "merges": own.headers["etag"]}
    platform.dynamodb.tables[RECORDS][head_key(path)]["version"] = {"S": sibling}
    merged = platform.call("PUT", path, body, headers=headers)
    assert merged.status == 200, merged.body
    assert platform.versions()[-1]["merges"] == {"L": [{"S": own.json["meta"]["versionId"]}]}
    assert merged.json["meta"]["versionId"] > sibling
    shown = platform.call("GET", f"{path}/_history").json["entry"]
    assert [followed(entry) for entry in shown] == [
        [sibling, own.json["meta"]["versionId"]],
        [etag[3:-1]],
        [etag[3:-1]],
        [],
    ]


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
def test_what_cannot_be_merged(platform: Platform, merges: str, status: int) -> None:
    path, etag = made(platform)
    body = patient(id=path.rpartition("/")[2])
    assert platform.call("PUT", path, body, headers={"if-match": etag, "merges": merges}).status == status
    assert len(platform.versions()) == 1
