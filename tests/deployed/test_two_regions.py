"""Both regions accept writes while replication is paused, and agree after it resumes."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.platform import REGIONS, Deployed, create_patient, eventually

EAST, WEST = REGIONS
CONFLICT = "urn:healthcare-dr:concurrent-with"
Apis = dict[str, httpx.Client]


@pytest.fixture
def paused(deployed: Deployed) -> Iterator[Callable[[], None]]:
    """Pause the replication of tables. Returns the function that resumes it before the end of the test."""
    with deployed.paused_replication("tables") as resume:
        yield resume


def changed(client: httpx.Client, known: httpx.Response, **elements: object) -> httpx.Response:
    resource = known.json() | elements
    match = {"If-Match": known.headers["etag"]}
    answer = client.put(f"/fhir/Patient/{resource['id']}", json=resource, headers=match)
    assert answer.status_code == 200, answer.text
    return answer


def versions(history: dict[str, Any]) -> list[str]:
    return [entry["response"]["etag"] for entry in history["entry"]]


def arrived(client: httpx.Client, path: str) -> None:
    eventually(lambda: client.get(path).status_code == 200)


@pytest.mark.requirement("R1.1", "C3")
@pytest.mark.trap(1, 2, 3)
def test_concurrent_writes_are_kept_and_the_newest_is_current_in_both_regions(
    deployed: Deployed, apis: Apis, paused: Callable[[], None]
) -> None:
    deployed.emulator.set_replication(tables=True)
    first = create_patient(apis[EAST])
    path = f"/fhir/Patient/{first.json()['id']}"
    arrived(apis[WEST], path)
    deployed.emulator.set_replication(tables=False)

    east = changed(apis[EAST], first, gender="female")
    west = changed(apis[WEST], first, gender="other")
    newest_east = changed(apis[EAST], east, active=True)
    assert apis[WEST].get(path).headers["etag"] == west.headers["etag"]

    paused()
    written = [newest_east, west, east, first]
    expected = sorted((answer.headers["etag"] for answer in written), reverse=True)
    eventually(lambda: all(versions(apis[region].get(f"{path}/_history").json()) == expected for region in REGIONS))
    for region in REGIONS:
        assert apis[region].get(path).headers["etag"] == expected[0]
        for answer in written:
            past = apis[region].get(f"{path}/_history/{answer.json()['meta']['versionId']}")
            assert past.json() == answer.json()

    siblings = {answer.json()["meta"]["versionId"] for answer in (east, west)}
    eventually(lambda: all(concurrent(apis[region], path) == siblings for region in REGIONS))
    eventually(lambda: all(head(deployed, region, path) == expected[0] for region in REGIONS))


def head(deployed: Deployed, region: str, path: str) -> str:
    """Return the version in a region's head of a record."""
    item = deployed.client("dynamodb", region).get_item(
        TableName=deployed.names.records_table,
        Key={"pk": {"S": f"clinic-a#Patient#{path.rpartition('/')[2]}"}, "sk": {"S": f"head#{region}"}},
    )
    return f'W/"{item["Item"]["version"]["S"]}"'


def concurrent(client: httpx.Client, path: str) -> set[str]:
    """Return the versions that a history marks as concurrent."""
    return {
        extension["valueId"]
        for entry in client.get(f"{path}/_history").json()["entry"]
        for extension in entry.get("extension", ())
        if extension["url"] == CONFLICT
    }


def test_version_that_has_not_arrived_returns_503(apis: Apis, paused: Callable[[], None]) -> None:
    made = create_patient(apis[EAST])
    path, known = f"/fhir/Patient/{made.json()['id']}", {"Minimum-Version": made.headers["etag"]}
    early = apis[WEST].get(path, headers=known)
    assert early.status_code == 503, early.text
    assert int(early.headers["retry-after"]) > 0
    assert apis[WEST].get(path).status_code == 404
    paused()
    eventually(lambda: apis[WEST].get(path, headers=known).status_code == 200)
    assert apis[WEST].get(path, headers=known).json() == made.json()


@pytest.mark.requirement("R1.1")
def test_change_of_a_version_that_has_not_arrived_returns_503(apis: Apis, paused: Callable[[], None]) -> None:
    made = create_patient(apis[EAST])
    id, known = made.json()["id"], made.headers["etag"]
    path, merge_patch = f"/fhir/Patient/{id}", {"Content-Type": "application/merge-patch+json"}

    def statuses(**headers: str) -> list[int]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        early = [
            apis[WEST].put(path, json=made.json() | {"gender": "other"}, headers=named),
            apis[WEST].patch(path, json={"active": True}, headers=named | merge_patch),
            apis[WEST].delete(path, headers=named),
            apis[WEST].get(f"{path}/_history/{made.json()['meta']['versionId']}"),
        ]
        return [answer.status_code for answer in early]

    assert statuses(if_match=known) == [503] * 4
    assert statuses(minimum_version=known) == [503] * 4
    paused()
    eventually(lambda: apis[WEST].delete(path, headers={"Minimum-Version": known}).status_code == 204)
    # Each region returns the deletion or 503, and never the version before it.
    deleted = apis[WEST].get(path).headers["etag"]
    least = {"Minimum-Version": deleted}
    assert apis[EAST].get(path, headers=least).status_code in {410, 503}
    eventually(lambda: apis[EAST].get(path, headers=least).status_code == 410)


def test_create_repeated_in_the_other_region_makes_one_record_without_a_conflict(
    deployed: Deployed, apis: Apis, paused: Callable[[], None]
) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    east, west = create_patient(apis[EAST], key), create_patient(apis[WEST], key)
    assert east.json()["id"] == west.json()["id"]
    path = f"/fhir/Patient/{east.json()['id']}"
    paused()
    eventually(lambda: all(len(versions(apis[r].get(f"{path}/_history").json())) == 2 for r in REGIONS))
    newest = max(answer.headers["etag"] for answer in (east, west))
    eventually(lambda: all(head(deployed, region, path) == newest for region in REGIONS))
    assert not any(concurrent(apis[region], path) for region in REGIONS)
    again = [create_patient(apis[region], key) for region in REGIONS]
    assert again[0].json() == again[1].json()
    assert again[0].json() in (east.json(), west.json())


def test_create_repeated_after_replication_returns_the_first_response(apis: Apis) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = create_patient(apis[EAST], key)
    arrived(apis[WEST], f"/fhir/Patient/{first.json()['id']}")
    again = create_patient(apis[WEST], key)
    assert (again.text, again.headers["etag"]) == (first.text, first.headers["etag"])
