"""Documents from their announcement to either region's bucket and back, with real tokens, addresses and S3."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from support.documents import (
    announced,
    attachment,
    becomes,
    downloaded,
    key_of,
    losing_events,
    read,
    record_items,
    sweep,
    uploaded,
    versions,
)
from support.platform import (
    MARKS,
    REGIONS,
    Deployed,
    eventually,
    issue_code,
    letter,
    reference,
    upload_of,
)

EAST, WEST = REGIONS
Apis = dict[str, httpx.Client]


def holds(deployed: Deployed, region: str, document: str) -> bool:
    """Return whether a region has both regions' heads, the marker, and the two versions of a confirmed document."""
    return [item[:2] for item in record_items(deployed, region, document)] == ["he", "he", "pe", "v#", "v#"]


@pytest.fixture
def paused(deployed: Deployed) -> Iterator[Callable[[], None]]:
    """Pause the replication of documents. Returns the function that resumes it before the end of the test."""
    with deployed.paused_replication("documents") as resume:
        yield resume


@pytest.mark.requirement("R3.1", "R2.3", "C3")
def test_a_document_sent_to_one_region_is_read_from_both(
    deployed: Deployed, apis: Apis, region: str, other_region: str, patient_id: str, objects: httpx.Client
) -> None:
    content = letter()
    document = uploaded(apis[region], patient_id, content, objects)
    for place in (region, other_region):
        becomes(apis[place], document, "final")
        address, bytes_there = downloaded(apis[place], document, objects)
        assert bytes_there == content
        assert deployed.bucket(place) in address
        found = apis[place].get("/fhir/DocumentReference", params={"patient": patient_id, "status": "current"}).json()
        assert document in [entry["resource"]["id"] for entry in found["entry"]]
    for place in (region, other_region):
        eventually(partial(holds, deployed, place, document))
        assert len(versions(deployed, place, document)) == 1


def test_another_tenant_gets_neither_document_nor_address(
    deployed: Deployed, apis: Apis, region: str, patient_id: str, objects: httpx.Client
) -> None:
    document = uploaded(apis[region], patient_id, letter(), objects)
    with deployed.api(region, deployed.token(tenant="clinic-b")) as stranger:
        for refused in (
            stranger.get(f"/fhir/DocumentReference/{document}"),
            stranger.post(f"/fhir/DocumentReference/{document}/$complete"),
        ):
            assert (refused.status_code, issue_code(refused)) == (404, "not-found")
        for_their_patient = stranger.post("/fhir/DocumentReference", json=reference(patient_id, letter()))
        assert for_their_patient.status_code == 422
    becomes(apis[region], document, "final")


@pytest.mark.requirement("C4", "C6")
def test_s3_accepts_only_the_declared_upload(
    deployed: Deployed, apis: Apis, region: str, patient_id: str, objects: httpx.Client
) -> None:
    content = letter()
    resource = announced(apis[region], patient_id, content)
    address, headers = upload_of(resource)
    other = content.swapcase()
    _, others_headers = upload_of(announced(apis[region], patient_id, other))
    for body, sent in (
        (other, headers),
        (other, others_headers),
        (content[:-1], headers),
        (content + b"!", headers),
        (content, headers | {"Content-Type": "text/html"}),
        (content, headers | {"x-amz-server-side-encryption": "AES256"}),
        (content, headers | {"x-amz-tagging": "quarantine=false"}),
        *((content, {name: text for name, text in headers.items() if name != left_out}) for left_out in headers),
    ):
        refused = objects.put(address, content=body, headers=sent)
        assert refused.status_code in {400, 403}, sent
    assert objects.put(address.replace(resource["id"], "other"), content=content, headers=headers).status_code == 403
    assert versions(deployed, region, resource["id"]) == []
    assert "url" not in attachment(read(apis[region], resource["id"]))

    assert objects.put(address, content=content, headers=headers).status_code == 200
    again = objects.put(address, content=content, headers=headers)
    assert again.status_code == 412
    becomes(apis[region], resource["id"], "final")
    assert len(versions(deployed, region, resource["id"])) == 1


@pytest.mark.requirement("C3")
def test_a_final_document_is_read_with_either_bucket_gone(
    deployed: Deployed, apis: Apis, region: str, other_region: str, patient_id: str, objects: httpx.Client
) -> None:
    content = letter()
    document = uploaded(apis[EAST], patient_id, content, objects)
    becomes(apis[WEST], document, "final")
    s3, bucket = deployed.client("s3", region), deployed.bucket(region)
    for version in versions(deployed, region, document):
        s3.delete_object(Bucket=bucket, Key=key_of(document), VersionId=version)
    deployed.settle()
    assert versions(deployed, region, document) == []
    for place in REGIONS:
        address, bytes_there = downloaded(apis[place], document, objects)
        assert bytes_there == content
        assert deployed.bucket(other_region) in address


@pytest.mark.requirement("C3")
@pytest.mark.trap(15)
def test_a_document_is_in_both_regions_also_without_replication(
    deployed: Deployed, apis: Apis, paused: Callable[[], None], patient_id: str, objects: httpx.Client
) -> None:
    contents = {region: letter() for region in REGIONS}
    documents = {region: uploaded(apis[region], patient_id, contents[region], objects) for region in REGIONS}
    for source, target in ((EAST, WEST), (WEST, EAST)):
        becomes(apis[source], documents[source], "final")
        there = deployed.client("s3", target).get_object(Bucket=deployed.bucket(target), Key=key_of(documents[source]))
        assert there["Body"].read() == contents[source]
        assert there["ContentType"] == "text/plain"
        assert there["ServerSideEncryption"] == "aws:kms"
    # The platform has copied it: replication has not. That this takes less than a minute is shown on a simulated
    # clock (tests/unit/patient_api/documents/test_confirmation.py).
    assert deployed.emulator.pending() > 0

    paused()
    for source, document in documents.items():
        for place in REGIONS:
            becomes(apis[place], document, "final")
            assert downloaded(apis[place], document, objects)[1] == contents[source]
            eventually(partial(holds, deployed, place, document))
            # A copy made here and a replica that came late are two versions of the same bytes, and no more follow.
            held = versions(deployed, place, document)
            assert len(held) <= 2
            s3 = deployed.client("s3", place)
            for version in held:
                one = s3.get_object(Bucket=deployed.bucket(place), Key=key_of(document), VersionId=version)
                assert one["Body"].read() == contents[source]


@pytest.mark.requirement("C3")
def test_sweep_confirms_documents_without_an_event(
    deployed: Deployed, apis: Apis, region: str, patient_id: str, objects: httpx.Client
) -> None:
    content = letter()
    with losing_events(deployed, region):
        document = uploaded(apis[region], patient_id, content, objects)
        deployed.settle()
        assert read(apis[region], document)["docStatus"] == "preliminary"
        sweep(deployed, region)
    becomes(apis[region], document, "final")
    assert downloaded(apis[region], document, objects)[1] == content


@pytest.mark.requirement("C5", "C6")
def test_bytes_that_were_not_announced_are_shut_away_in_both_regions(
    deployed: Deployed, apis: Apis, region: str, patient_id: str
) -> None:
    content = letter()
    document = str(announced(apis[region], patient_id, content)["id"])
    with losing_events(deployed, region):
        deployed.client("s3", region).put_object(
            Bucket=deployed.bucket(region), Key=key_of(document), Body=content.swapcase(), ContentType="text/plain"
        )
        deployed.settle()
        assert ["url" in attachment(read(apis[place], document)) for place in REGIONS] == [False, False]
        sweep(deployed, region)
    deployed.settle()
    for place in REGIONS:
        becomes(apis[place], document, "entered-in-error")
        found = read(apis[place], document)
        assert found["status"] == "entered-in-error"
        assert "url" not in attachment(found)
        (version,) = versions(deployed, place, document)
        tags = deployed.client("s3", place).get_object_tagging(
            Bucket=deployed.bucket(place), Key=key_of(document), VersionId=version
        )["TagSet"]
        assert tags == [{"Key": "quarantine", "Value": "true"}]


@pytest.mark.requirement("C6")
def test_an_address_ends_with_a_quarantine(
    deployed: Deployed, apis: Apis, region: str, patient_id: str, objects: httpx.Client
) -> None:
    document = uploaded(apis[region], patient_id, letter(), objects)
    becomes(apis[region], document, "final")
    # Signed by the API's role.
    address, _ = downloaded(apis[region], document, objects)
    there = {"Bucket": deployed.bucket(region), "Key": key_of(document)}
    tags = {"TagSet": [{"Key": "quarantine", "Value": "true"}]}
    deployed.client("s3", region).put_object_tagging(**there, Tagging=tags)
    assert objects.get(address).status_code == 403
    deployed.client("s3", region).delete_object_tagging(**there)
    assert objects.get(address).status_code == 200


def test_incomplete_declaration_is_rejected(apis: Apis, region: str, patient_id: str) -> None:
    whole = reference(patient_id, letter())
    broken: list[dict[str, Any]] = [{"content": []}, {"content": [{}]}, {"subject": {"display": MARKS[0]}}]
    for elements in broken:
        answer = apis[region].post("/fhir/DocumentReference", json=whole | elements)
        assert answer.status_code == 422, answer.text
        assert MARKS[0] not in answer.text
