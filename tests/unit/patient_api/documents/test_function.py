"""The function that confirms documents, as Lambda runs it, on the embedded AWS."""

import importlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any
from urllib.parse import quote_plus
from uuid import uuid4

import httpx
import pytest

from patient_api.clock import Stamp
from patient_api.contract.keys import DOCUMENT
from patient_api.documents import confirmation
from patient_api.documents.lifecycle import Replica, State
from patient_api.documents.reference import object_key
from patient_api.documents.repository import replica_item
from patient_api.store.model import Method, RecordKey, head_item, version_item, version_of
from unit.patient_api.documents.aws import Embedded
from unit.patient_api.documents.test_addresses import CONTENT, Announced
from unit.patient_api.fakes.aws import AUDIT, RECORDS
from unit.patient_api.fakes.documents import EAST, TENANT, WEST, document, events_of


class Context:
    """The context object of Lambda."""

    aws_request_id = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


@pytest.fixture
def function(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, value in (embedded.environment().variables() | {"AWS_REGION": EAST}).items():
        monkeypatch.setenv(name, value)
    sys.modules.pop("patient_api.handlers.confirm_documents", None)
    yield importlib.import_module("patient_api.handlers.confirm_documents")
    del sys.modules["patient_api.handlers.confirm_documents"]


def announce(embedded: Embedded) -> RecordKey:
    """Create a preliminary document of us-east-1."""
    key = RecordKey(TENANT, DOCUMENT, str(uuid4()))
    stamp = Stamp(1_700_000_000_000, 0, EAST)
    version = version_of(document(CONTENT), key=key, stamp=stamp, method=Method.POST)
    dynamodb = embedded.client("dynamodb")
    replica = Replica(region=EAST, state=State.ANNOUNCED, at=stamp.time, since=datetime.now(UTC), offered=True)
    for item in (version_item(version), head_item(version, EAST), replica_item(key, replica)):
        dynamodb.put_item(TableName=RECORDS, Item=item)
    return key


def resource(embedded: Embedded, key: RecordKey) -> dict[str, Any]:
    item = embedded.client("dynamodb").get_item(
        TableName=RECORDS, Key={"pk": {"S": f"{TENANT}#{DOCUMENT}#{key.id}"}, "sk": {"S": f"head#{EAST}"}}
    )["Item"]
    content: dict[str, Any] = json.loads(item["resource"]["S"])
    return content


def metrics(printed: str) -> dict[str, float]:
    lines = [json.loads(line) for line in printed.splitlines()]
    return {name: line[name][0] for line in lines if "_aws" in line for name in line if name[0].isupper()}


def test_upload_is_copied_and_confirmed(
    embedded: Embedded,
    http: httpx.Client,
    function: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(confirmation, "REPLICATION", timedelta(0))
    key = announce(embedded)
    embedded.client("s3").put_object(
        Bucket=f"documents-{EAST}", Key=object_key(key), Body=CONTENT, ChecksumAlgorithm="SHA256"
    )

    function.handler({"Records": list(events_of(quote_plus(object_key(key))))}, Context())

    confirmed = resource(embedded, key)
    assert confirmed["docStatus"] == "final"
    copy = embedded.client("s3", WEST).get_object(Bucket=f"documents-{WEST}", Key=object_key(key))
    assert copy["Body"].read() == CONTENT
    (stored,) = [
        extension["extension"]
        for extension in confirmed["content"][0]["attachment"]["extension"]
        if extension["url"] == "urn:healthcare-dr:stored"
    ]
    assert {"url": WEST, "valueString": copy["VersionId"]} in stored
    events = embedded.client("dynamodb").scan(TableName=AUDIT)["Items"]
    assert [event["subject"]["S"] for event in events if event["entity"]["S"].endswith(key.id)] == [
        "system:document-confirmation"
    ]
    assert metrics(capsys.readouterr().out) == {"DocumentsConfirmed": 1, "DocumentsCopied": 1}


def test_sweep_confirms_documents_without_an_event(
    embedded: Embedded, function: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(confirmation, "REPLICATION", timedelta(0))
    key = announce(embedded)
    for region in (EAST, WEST):
        # S3 has no hash of the whole object, so both objects are read.
        embedded.client("s3", region).put_object(
            Bucket=f"documents-{region}", Key=object_key(key), Body=CONTENT, ChecksumAlgorithm="CRC32"
        )
    function.handler({"sweep": True}, Context())
    assert resource(embedded, key)["docStatus"] == "final"
    assert metrics(capsys.readouterr().out) == {"DocumentsConfirmed": 1, "DocumentsPending": 0, "PendingSeconds": 0}


def test_other_content_is_quarantined(embedded: Embedded, function: ModuleType) -> None:
    """The object of the other region is not a replica of it, and is left to that region."""
    key = announce(embedded)
    for region in (EAST, WEST):
        embedded.client("s3", region).put_object(Bucket=f"documents-{region}", Key=object_key(key), Body=b"other")
    function.handler({"Records": list(events_of(object_key(key)))}, Context())
    assert resource(embedded, key)["status"] == "entered-in-error"
    for region, tags in ((EAST, [{"Key": "quarantine", "Value": "true"}]), (WEST, [])):
        answer = embedded.client("s3", region).get_object_tagging(Bucket=f"documents-{region}", Key=object_key(key))
        assert answer["TagSet"] == tags


def test_copy_in_parts_is_complete(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    from patient_api.documents import storage

    content = bytes(range(256)) * 4096 * 11
    monkeypatch.setattr(storage, "PART_SIZE", 5 * 1024 * 1024)
    announced = Announced(embedded, content)
    name = announced.document.name
    embedded.client("s3").put_object(Bucket=f"documents-{EAST}", Key=name, Body=content)
    held = announced.here.head(name)
    assert held is not None
    version = announced.peer.copy(announced.document, announced.here, held, replacing=False)
    arrived = announced.peer.head(name)
    assert arrived is not None
    assert (arrived.version, arrived.size) == (version, len(content))
    assert announced.peer.sha256(name, arrived) == announced.document.declared.sha256
