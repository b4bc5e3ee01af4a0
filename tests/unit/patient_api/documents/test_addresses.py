"""Presigned URLs on the embedded AWS: S3 accepts only what was signed."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import botocore.auth
import httpx
import pytest

from patient_api.bootstrap import DocumentStorage, Services
from patient_api.clock import Stamp
from patient_api.contract.keys import DOCUMENT
from patient_api.documents.lifecycle import Document
from patient_api.documents.reference import Resource
from patient_api.documents.storage import PART_SIZE, DocumentBucket
from patient_api.documents.upload import Addresses, Multipart, parts_of
from patient_api.logging import StructuredLog
from patient_api.store.model import Method, RecordKey, head_item, version_item, version_of
from unit.patient_api.documents.aws import Embedded
from unit.patient_api.fakes.aws import RECORDS
from unit.patient_api.fakes.documents import EAST, TENANT, WEST, document, request
from unit.patient_api.fakes.s3 import sha256

CONTENT = b"%PDF-1.7 a letter"


class Announced:
    """A document that was created in us-east-1, and its upload URLs. `here` and `peer` are both regions' buckets."""

    def __init__(self, embedded: Embedded, content: bytes = CONTENT) -> None:
        environment, clients = embedded.environment(), embedded.functions_clients()
        services = Services(environment=environment, clients=clients, log=StructuredLog(service="test", region=EAST))
        storage = DocumentStorage(
            environment=environment,
            clients=clients,
            dynamodb=clients.dynamodb(),
            records=services.records,
            now=lambda: datetime.now(UTC),
        )
        self.here: DocumentBucket = storage.here
        self.peer: DocumentBucket = storage.peer
        self.read = services.documents.read
        self.key = RecordKey(TENANT, DOCUMENT, str(uuid4()))
        stamp = Stamp(1_800_000_000_000, 0, EAST)
        self.version = version_of(document(content), key=self.key, stamp=stamp, method=Method.POST)
        self.document = Document.of(self.key, [self.version])
        self.multipart = Multipart(client=clients.documents, bucket=environment.documents_bucket)
        self.addresses = Addresses(
            client=clients.documents,
            bucket=environment.documents_bucket,
            key_arn=environment.key_arn,
            now=lambda: datetime.now(UTC),
        )

    def whole(self) -> tuple[str, dict[str, str]]:
        """Return the URL, and the headers to send."""
        return offered(self.addresses.whole(self.document.name, self.document.declared))

    def store(self, embedded: Embedded) -> None:
        """Write the record."""
        for item in (version_item(self.version), head_item(self.version, EAST)):
            embedded.client("dynamodb").put_item(TableName=RECORDS, Item=item)


def offered(extension: Resource) -> tuple[str, dict[str, str]]:
    entries: Any = extension["extension"]
    (address,) = [entry["valueUrl"] for entry in entries if entry["url"] == "address"]
    headers = [entry["valueString"].split(": ", 1) for entry in entries if entry["url"] == "header"]
    return address, dict(headers)


def put(http: httpx.Client, address: str, headers: Mapping[str, str], content: bytes = CONTENT) -> int:
    return http.put(address, content=content, headers=dict(headers)).status_code


def test_declared_content_is_accepted(embedded: Embedded, http: httpx.Client) -> None:
    announced = Announced(embedded)
    assert put(http, *announced.whole()) == 200
    held = embedded.client("s3").head_object(Bucket=f"documents-{EAST}", Key=announced.document.name)
    assert held["ContentType"] == "application/pdf"
    assert held["SSEKMSKeyId"] == embedded.keys[EAST]
    found = announced.here.head(announced.document.name)
    assert found is not None
    assert (found.size, found.sha256) == (len(CONTENT), sha256(CONTENT))
    assert found.version


OTHER = b"%PDF-1.7 a Letter"


REQUIRED = (
    "Content-Type",
    "If-None-Match",
    "x-amz-checksum-sha256",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
)


@pytest.mark.parametrize(
    ("changes", "content", "status"),
    [
        ({}, OTHER, 400),
        ({}, CONTENT + b".", 403),
        ({}, CONTENT[:-1], 403),
        ({"x-amz-checksum-sha256": sha256(OTHER)}, OTHER, 403),
        ({"Content-Type": "text/html"}, CONTENT, 403),
        ({"x-amz-server-side-encryption": "AES256"}, CONTENT, 403),
        ({"x-amz-server-side-encryption-aws-kms-key-id": "alias/aws/s3"}, CONTENT, 403),
        ({"x-amz-tagging": "quarantine=false"}, CONTENT, 403),
        *[({name: None}, CONTENT, 403) for name in REQUIRED],
    ],
    ids=str,
)
def test_other_content_or_headers_are_rejected(
    embedded: Embedded, http: httpx.Client, changes: dict[str, str | None], content: bytes, status: int
) -> None:
    announced = Announced(embedded)
    address, headers = announced.whole()
    sent = {name: value for name, value in (headers | changes).items() if value is not None}
    assert put(http, address, sent, content) == status
    assert announced.here.head(announced.document.name) is None


def test_url_is_valid_for_one_document(embedded: Embedded, http: httpx.Client) -> None:
    announced = Announced(embedded)
    address, headers = announced.whole()
    assert put(http, address.replace(announced.key.id, str(uuid4())), headers) == 403
    assert http.get(address).status_code == 403


def test_url_cannot_replace_an_object(embedded: Embedded, http: httpx.Client) -> None:
    address, headers = Announced(embedded).whole()
    assert put(http, address, headers) == 200
    assert put(http, address, headers) == 412


@pytest.mark.parametrize("late", [False, True])
def test_url_expires_after_fifteen_minutes(
    embedded: Embedded, http: httpx.Client, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    signed = datetime.now(UTC) - timedelta(minutes=15, seconds=5 if late else -60)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: signed.replace(tzinfo=None))
    address, headers = Announced(embedded).whole()
    monkeypatch.undo()
    assert parse_qs(urlsplit(address).query)["X-Amz-Expires"] == ["900"]
    assert put(http, address, headers) == (403 if late else 200)


def test_part_is_accepted_in_its_length_only(embedded: Embedded, http: httpx.Client) -> None:
    content = bytes(PART_SIZE + 3)
    announced = Announced(embedded, content)
    name, whole = announced.document.name, announced.document.declared
    upload = announced.multipart.begin(name, whole, announced.addresses.encryption)
    extension: Any = announced.addresses.parts(name, whole, upload)["extension"]
    addresses = [entry["extension"][1]["valueUrl"] for entry in extension if entry["url"] == "part"]
    first, last = parts_of(len(content))
    assert http.put(addresses[1], content=b"1234").status_code == 403
    assert http.put(addresses[0], content=content[: first.size]).status_code == 200
    assert announced.multipart.progress(announced.document, upload).missing == [2]
    assert http.put(addresses[1], content=content[-last.size :]).status_code == 200
    progress = announced.multipart.progress(announced.document, upload)
    assert progress.missing == []
    announced.multipart.complete(announced.document, upload, progress.parts)
    held = announced.here.head(name)
    assert held is not None
    assert held.matches(whole) is None
    assert announced.here.sha256(name, held) == whole.sha256
    stored = embedded.client("s3").head_object(Bucket=f"documents-{EAST}", Key=name)
    assert (stored["ContentType"], stored["SSEKMSKeyId"]) == ("application/pdf", embedded.keys[EAST])


def test_download_returns_the_signed_version(embedded: Embedded, http: httpx.Client) -> None:
    announced = Announced(embedded)
    put(http, *announced.whole())
    found = announced.here.head(announced.document.name)
    assert found is not None
    address = announced.here.download(announced.document.name, found.version)
    embedded.client("s3").put_object(Bucket=f"documents-{EAST}", Key=announced.document.name, Body=b"later")
    response = http.get(address)
    assert (response.status_code, response.content) == (200, CONTENT)
    assert response.headers["content-type"] == "application/pdf"
    assert http.get(address.replace(f"versionId={found.version}", "")).status_code == 403
    assert http.put(address, content=b"x").status_code == 403


def test_documents_of_the_other_region_are_read_with_its_role(embedded: Embedded, http: httpx.Client) -> None:
    announced = Announced(embedded)
    embedded.client("s3", WEST).put_object(
        Bucket=f"documents-{WEST}", Key=announced.document.name, Body=CONTENT, ChecksumSHA256=sha256(CONTENT)
    )
    announced.store(embedded)
    resource = json.loads(str(announced.read(request(), announced.key.id).resource))
    address = resource["content"][0]["attachment"]["url"]
    assert f"%2F{WEST}%2Fs3" in address
    assert "X-Amz-Security-Token" in address
    assert http.get(address).content == CONTENT
