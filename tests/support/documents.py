"""Documents as the tests announce, send, read and lose them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from support.platform import Deployed, eventually, reference, upload_of

Resource = dict[str, Any]


def announced(client: httpx.Client, patient_id: str, content: bytes, **elements: object) -> Resource:
    answer = client.post("/fhir/DocumentReference", json=reference(patient_id, content, **elements))
    assert answer.status_code == 201, answer.text
    resource: Resource = answer.json()
    assert resource["docStatus"] == "preliminary"
    assert answer.headers["location"].startswith("https://")
    assert answer.headers["location"].endswith(f"/fhir/DocumentReference/{resource['id']}")
    return resource


def uploaded(client: httpx.Client, patient_id: str, content: bytes, objects: httpx.Client) -> str:
    """The id of a document that was announced and sent."""
    resource = announced(client, patient_id, content)
    address, headers = upload_of(resource)
    sent = objects.put(address, content=content, headers=headers)
    assert sent.status_code == 200, sent.text
    return str(resource["id"])


def read(client: httpx.Client, document_id: str) -> Resource:
    answer = client.get(f"/fhir/DocumentReference/{document_id}")
    assert answer.status_code == 200, answer.text
    resource: Resource = answer.json()
    return resource


def becomes(client: httpx.Client, document_id: str, status: str, *, seconds: float = 30) -> None:
    def has_become() -> bool:
        answer = client.get(f"/fhir/DocumentReference/{document_id}")
        return answer.status_code == 200 and answer.json()["docStatus"] == status

    eventually(has_become, seconds=seconds)


def attachment(resource: Mapping[str, Any]) -> Resource:
    held: Resource = resource["content"][0]["attachment"]
    return held


def downloaded(client: httpx.Client, document_id: str, objects: httpx.Client) -> tuple[str, bytes]:
    """The address that a region gives, and what is there."""
    address = str(attachment(read(client, document_id))["url"])
    answer = objects.get(address)
    assert answer.status_code == 200, answer.text
    return address, answer.content


def key_of(document_id: str) -> str:
    return f"documents/clinic-a/{document_id}"


def versions(deployed: Deployed, region: str, document_id: str) -> list[str]:
    """The versions of a document's object in a region's bucket."""
    found = deployed.client("s3", region).list_object_versions(
        Bucket=deployed.bucket(region), Prefix=key_of(document_id)
    )
    assert not found.get("DeleteMarkers")
    return [version["VersionId"] for version in found.get("Versions", ())]


def record_items(deployed: Deployed, region: str, document_id: str) -> list[str]:
    """Return the sort keys of the items of a DocumentReference in a region."""
    return [item["sk"]["S"] for item in deployed.items_of(region, f"DocumentReference#{document_id}")]


def sweep(deployed: Deployed, region: str) -> None:
    answer = deployed.client("lambda", region).invoke(
        FunctionName=deployed.names.of("document-confirmation"), Payload=json.dumps({"sweep": True})
    )
    assert "FunctionError" not in answer, answer["Payload"].read()


@contextmanager
def losing_events(deployed: Deployed, region: str) -> Iterator[None]:
    """Disable the notifications of the region's bucket and its sweep in the block."""
    s3, bucket = deployed.client("s3", region), deployed.bucket(region)
    events, schedule = deployed.client("events", region), deployed.names.of("sweep")
    configured = s3.get_bucket_notification_configuration(Bucket=bucket)
    configured.pop("ResponseMetadata")
    assert configured["LambdaFunctionConfigurations"]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    events.disable_rule(Name=schedule)
    try:
        yield
    finally:
        events.enable_rule(Name=schedule)
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configured)
