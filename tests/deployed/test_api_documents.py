"""Documents from their announcement to the bucket of either region and back, with real tokens, addresses and S3."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from support.documents import Documents
from support.platform import MARKS, REGIONS, Deployed, eventually, issue_code, letter, reference, upload_of

EAST, WEST = REGIONS


@pytest.fixture
def paused(deployed: Deployed) -> Iterator[Callable[[], None]]:
    """Pause the replication of documents. Returns the function that resumes it before the end of the test."""
    with deployed.paused_replication("documents") as resume:
        yield resume


@pytest.mark.requirement("R3.1", "R2.3", "C3")
def test_document_uploaded_to_one_region_is_read_from_both(
    documents: Documents, region: str, other_region: str
) -> None:
    content = letter()
    document = documents.upload(region, content)
    for place in (region, other_region):
        documents.wait_for(place, document, "final")
        address, downloaded = documents.download(place, document)
        assert downloaded == content
        assert documents.deployed.bucket(place) in address
        query = {"patient": documents.patient_id, "status": "current"}
        found = documents.apis[place].get("/fhir/DocumentReference", params=query).json()
        assert document in [entry["resource"]["id"] for entry in found["entry"]]
    for place in (region, other_region):
        eventually(partial(documents.is_confirmed, place, document))
        assert len(documents.versions(place, document)) == 1


def test_another_tenant_gets_neither_document_nor_address(documents: Documents, region: str) -> None:
    document = documents.upload(region, letter())
    with documents.deployed.api(region, documents.deployed.token(tenant="clinic-b")) as other:
        for refused in (
            other.get(f"/fhir/DocumentReference/{document}"),
            other.post(f"/fhir/DocumentReference/{document}/$complete"),
        ):
            assert (refused.status_code, issue_code(refused)) == (404, "not-found")
        announced = other.post("/fhir/DocumentReference", json=reference(documents.patient_id, letter()))
        assert announced.status_code == 422
    documents.wait_for(region, document, "final")


@pytest.mark.requirement("C4", "C6")
def test_s3_accepts_only_the_declared_upload(documents: Documents, region: str) -> None:
    content, objects = letter(), documents.objects
    resource = documents.announce(region, content)
    address, headers = upload_of(resource)
    other = content.swapcase()
    _, others_headers = upload_of(documents.announce(region, other))
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
    assert documents.versions(region, resource["id"]) == []
    assert documents.address(region, resource["id"]) is None

    assert objects.put(address, content=content, headers=headers).status_code == 200
    again = objects.put(address, content=content, headers=headers)
    assert again.status_code == 412
    documents.wait_for(region, resource["id"], "final")
    assert len(documents.versions(region, resource["id"])) == 1


@pytest.mark.requirement("C3")
def test_final_document_is_read_without_either_regions_copy(
    documents: Documents, region: str, other_region: str
) -> None:
    content = letter()
    document = documents.upload(EAST, content)
    documents.wait_for(WEST, document, "final")
    s3 = documents.deployed.client("s3", region)
    for version in documents.versions(region, document):
        s3.delete_object(**documents.object_of(region, document), VersionId=version)
    documents.deployed.settle()
    assert documents.versions(region, document) == []
    for place in REGIONS:
        address, downloaded = documents.download(place, document)
        assert downloaded == content
        assert documents.deployed.bucket(other_region) in address


@pytest.mark.requirement("C3")
@pytest.mark.trap(15)
def test_document_is_copied_to_both_regions_without_replication(
    documents: Documents, paused: Callable[[], None]
) -> None:
    contents = {region: letter() for region in REGIONS}
    uploaded = {region: documents.upload(region, contents[region]) for region in REGIONS}
    for source, target in ((EAST, WEST), (WEST, EAST)):
        documents.wait_for(source, uploaded[source], "final")
        copy = documents.deployed.client("s3", target).get_object(**documents.object_of(target, uploaded[source]))
        assert copy["Body"].read() == contents[source]
        assert copy["ContentType"] == "text/plain"
        assert copy["ServerSideEncryption"] == "aws:kms"
    # Replication still has the documents in its queue, so the platform has copied them. A test on a simulated clock
    # shows that this takes less than a minute (tests/unit/patient_api/documents/test_confirmation.py).
    assert documents.deployed.emulator.pending() > 0

    paused()
    for source, document in uploaded.items():
        for place in REGIONS:
            documents.wait_for(place, document, "final")
            assert documents.download(place, document)[1] == contents[source]
            eventually(partial(documents.is_confirmed, place, document))
            # A copy and a late replica are two versions of the same bytes. No more versions follow.
            versions = documents.versions(place, document)
            assert len(versions) <= 2
            s3 = documents.deployed.client("s3", place)
            for version in versions:
                found = s3.get_object(**documents.object_of(place, document), VersionId=version)
                assert found["Body"].read() == contents[source]


@pytest.mark.requirement("C3")
def test_sweep_confirms_documents_without_an_event(documents: Documents, region: str) -> None:
    content = letter()
    with documents.without_events(region):
        document = documents.upload(region, content)
        documents.deployed.settle()
        assert documents.read(region, document)["docStatus"] == "preliminary"
        documents.sweep(region)
    documents.wait_for(region, document, "final")
    assert documents.download(region, document)[1] == content


@pytest.mark.requirement("C5", "C6")
def test_bytes_that_were_not_announced_are_quarantined_in_both_regions(documents: Documents, region: str) -> None:
    content, deployed = letter(), documents.deployed
    document = str(documents.announce(region, content)["id"])
    with documents.without_events(region):
        place_of_object = documents.object_of(region, document)
        deployed.client("s3", region).put_object(**place_of_object, Body=content.swapcase(), ContentType="text/plain")
        deployed.settle()
        assert [documents.address(place, document) for place in REGIONS] == [None, None]
        documents.sweep(region)
    deployed.settle()
    for place in REGIONS:
        documents.wait_for(place, document, "entered-in-error")
        assert documents.read(place, document)["status"] == "entered-in-error"
        assert documents.address(place, document) is None
        (version,) = documents.versions(place, document)
        tags = deployed.client("s3", place).get_object_tagging(
            **documents.object_of(place, document), VersionId=version
        )["TagSet"]
        assert tags == [{"Key": "quarantine", "Value": "true"}]


@pytest.mark.requirement("C6")
def test_quarantine_revokes_a_download_address(documents: Documents, region: str) -> None:
    document = documents.upload(region, letter())
    documents.wait_for(region, document, "final")
    # The API's role signs the address.
    address, _ = documents.download(region, document)
    s3, place = documents.deployed.client("s3", region), documents.object_of(region, document)
    s3.put_object_tagging(**place, Tagging={"TagSet": [{"Key": "quarantine", "Value": "true"}]})
    assert documents.objects.get(address).status_code == 403
    s3.delete_object_tagging(**place)
    assert documents.objects.get(address).status_code == 200


def test_incomplete_declaration_is_rejected(documents: Documents, region: str) -> None:
    whole = reference(documents.patient_id, letter())
    broken: list[dict[str, Any]] = [{"content": []}, {"content": [{}]}, {"subject": {"display": MARKS[0]}}]
    for elements in broken:
        answer = documents.apis[region].post("/fhir/DocumentReference", json=whole | elements)
        assert answer.status_code == 422, answer.text
        assert MARKS[0] not in answer.text
