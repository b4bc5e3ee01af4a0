"""Documents of the deployed platform: announced, uploaded, read and downloaded through the APIs of both regions."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from support.platform import Deployed, eventually, reference, upload_of

Resource = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Documents:
    """The documents of one patient. `apis` are clients by region; `objects` sends requests to presigned addresses."""

    deployed: Deployed
    apis: Mapping[str, httpx.Client]
    patient_id: str
    objects: httpx.Client

    def announce(self, region: str, content: bytes, **elements: object) -> Resource:
        """Announce a document and return its resource."""
        made = self.apis[region].post("/fhir/DocumentReference", json=reference(self.patient_id, content, **elements))
        assert made.status_code == 201, made.text
        resource: Resource = made.json()
        assert resource["docStatus"] == "preliminary"
        assert made.headers["location"].startswith("https://")
        assert made.headers["location"].endswith(f"/fhir/DocumentReference/{resource['id']}")
        return resource

    def upload(self, region: str, content: bytes) -> str:
        """Announce and upload a document, and return its id."""
        resource = self.announce(region, content)
        address, headers = upload_of(resource)
        sent = self.objects.put(address, content=content, headers=headers)
        assert sent.status_code == 200, sent.text
        return str(resource["id"])

    def read(self, region: str, document: str) -> Resource:
        """Return the resource of a document."""
        found = self.apis[region].get(f"/fhir/DocumentReference/{document}")
        assert found.status_code == 200, found.text
        resource: Resource = found.json()
        return resource

    def wait_for(self, region: str, document: str, status: str) -> None:
        """Wait until a region returns the document with this status."""

        def has_status() -> bool:
            found = self.apis[region].get(f"/fhir/DocumentReference/{document}")
            return found.status_code == 200 and found.json()["docStatus"] == status

        eventually(has_status, seconds=30)

    def address(self, region: str, document: str) -> str | None:
        """Return the download address in the resource of a document; None without one."""
        url: str | None = self.read(region, document)["content"][0]["attachment"].get("url")
        return url

    def download(self, region: str, document: str) -> tuple[str, bytes]:
        """Return the download address of a document and its content."""
        address = str(self.address(region, document))
        found = self.objects.get(address)
        assert found.status_code == 200, found.text
        return address, found.content

    def object_of(self, region: str, document: str) -> dict[str, str]:
        """Return the bucket and the key of a document in a region."""
        return {"Bucket": self.deployed.bucket(region), "Key": f"documents/clinic-a/{document}"}

    def versions(self, region: str, document: str) -> list[str]:
        """Return the versions of a document's object in a region."""
        place = self.object_of(region, document)
        found = self.deployed.client("s3", region).list_object_versions(Bucket=place["Bucket"], Prefix=place["Key"])
        assert not found.get("DeleteMarkers")
        return [version["VersionId"] for version in found.get("Versions", ())]

    def is_confirmed(self, region: str, document: str) -> bool:
        """Return whether a region has both regions' heads at the final version, and no work left for the document."""
        items = {item["sk"]["S"]: item for item in self.deployed.items_of(region, f"DocumentReference#{document}")}
        heads = [item["version"]["S"] for sk, item in items.items() if sk.startswith("head#")]
        final = [sk for sk, item in items.items() if sk.startswith("v#") and '"final"' in item["resource"]["S"]]
        pending = [item for item in items.values() if "#pending#" in item.get("update_shard", {}).get("S", "")]
        return bool(final) and not pending and heads == [max(final).removeprefix("v#")] * 2

    def sweep(self, region: str) -> None:
        """Run a sweep of the confirming function."""
        answer = self.deployed.client("lambda", region).invoke(
            FunctionName=self.deployed.names.of("document-confirmation"), Payload=json.dumps({"sweep": True})
        )
        assert "FunctionError" not in answer, answer["Payload"].read()

    @contextmanager
    def without_events(self, region: str) -> Iterator[None]:
        """Disable the notifications of the region's bucket and its sweep for the duration of the block."""
        s3, bucket = self.deployed.client("s3", region), self.deployed.bucket(region)
        events, schedule = self.deployed.client("events", region), self.deployed.names.of("sweep")
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
