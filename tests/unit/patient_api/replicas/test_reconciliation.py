"""Batches of the stream, as Lambda hands them over."""

import io
import json
from typing import Any

import pytest

from patient_api.errors import StorageFault
from patient_api.journal import Journal
from patient_api.reconciliation import Reconciliation, wire
from patient_api.records.model import RecordKey
from patient_api.records.reconcile import Change
from patient_api.records.siblings import Link
from unit.patient_api.fakes import REGION

ONE, TWO, THREE = (RecordKey("north-clinic", "Patient", name) for name in ("1", "2", "3"))


class Reconciling:
    """Stands for the reconciler, and fails for some records."""

    def __init__(self, **faults: Exception) -> None:
        self.changes: list[Change] = []
        self.faults = faults
        self.log = io.StringIO()
        journal = Journal(service="reconciliation", region=REGION, stream=self.log)
        self.function = Reconciliation(reconcile=self._reconcile, journal=journal)

    def _reconcile(self, change: Change) -> None:
        self.changes.append(change)
        if f"record{change.key.id}" in self.faults:
            raise self.faults[f"record{change.key.id}"]

    def failed(self, *stream: dict[str, Any]) -> list[str]:
        answer = self.function({"Records": list(stream)})
        assert answer.keys() == {"batchItemFailures"}
        return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def entry(number: int, pk: str, sk: str, **texts: str) -> dict[str, Any]:
    """One change in a stream."""
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    image = keys | {name: {"S": text} for name, text in texts.items()}
    return {
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "dynamodb": {"Keys": keys, "NewImage": image, "SequenceNumber": str(number)},
    }


def version(number: int, key: RecordKey, stamp: str, **texts: str) -> dict[str, Any]:
    pk = f"{key.tenant}#{key.type}#{key.id}"
    return entry(number, pk, f"v#{stamp}", version=stamp, resource="Marked-Value", **texts)


def head(number: int, key: RecordKey, stamp: str) -> dict[str, Any]:
    return entry(number, f"{key.tenant}#{key.type}#{key.id}", "head", version=stamp, resource="Marked-Value")


def test_a_record_is_reconciled_once_in_a_batch() -> None:
    reconciling = Reconciling()
    stream = [version(1, ONE, "a"), head(2, ONE, "a"), version(3, TWO, "x"), version(4, ONE, "b", replaces="a")]
    assert reconciling.failed(*stream, head(5, ONE, "b")) == []
    links = (Link("a", ("0",)), Link("b", ("a",)))
    assert reconciling.changes == [Change(ONE, links, "b"), Change(TWO, (Link("x", ("0",)),), None)]


def test_the_last_head_counts_even_if_it_is_older() -> None:
    reconciling = Reconciling()
    reconciling.failed(head(1, ONE, "b"), head(2, ONE, "a"))
    assert reconciling.changes == [Change(ONE, (), "a")]


@pytest.mark.parametrize(
    ("pk", "sk"),
    [
        ("$platform#drain", "us-east-1"),
        ("$platform#heartbeat#x", "head"),
        ("north-clinic#Patient#1", "c#0"),
        ("north-clinic#DocumentReference#1", "pending"),
        ("north-clinic#Patient?family#0f", "head"),
        ("north-clinic#Patient?family#0f", "1"),
    ],
)
def test_other_items_are_left_alone(pk: str, sk: str) -> None:
    reconciling = Reconciling()
    assert reconciling.failed(entry(1, pk, sk, version="a")) == []
    assert reconciling.changes == []


def test_what_was_removed_is_left_alone() -> None:
    reconciling = Reconciling()
    removed = version(1, ONE, "a")
    del removed["dynamodb"]["NewImage"]
    assert reconciling.failed(removed) == []
    assert reconciling.changes == []


def test_a_fault_fails_its_record_alone_from_its_first_change_on() -> None:
    fault = StorageFault(operation="Query", code="ThrottlingException", throttled=True)
    reconciling = Reconciling(record2=fault, record3=StorageFault(operation="Query", code="KMSDisabled", of_key=True))
    stream = [version(1, ONE, "a"), version(2, TWO, "a"), version(3, THREE, "a"), head(4, TWO, "a"), head(5, ONE, "a")]
    assert reconciling.failed(*stream) == ["2", "3"]
    assert [change.key for change in reconciling.changes] == [ONE, TWO, THREE]
    (line, *_) = [line for line in reconciling.lines() if line.get("message") == "storage fault"]
    assert (line["code"], line["record"], line["tenant"]) == ("ThrottlingException", "Patient/2", "north-clinic")
    metrics = {name for line in reconciling.lines() for name in line if name.endswith("Failures")}
    assert metrics == {"StorageFailures", "KeyFailures"}


def test_a_defect_fails_its_record_alone_and_shows_no_data() -> None:
    reconciling = Reconciling(record1=ValueError("Marked-Value"))
    assert reconciling.failed(version(1, ONE, "a"), version(2, TWO, "a")) == ["1"]
    (line,) = reconciling.lines()
    assert (line["message"], line["record"]) == ("unexpected exception", "Patient/1")
    assert "Marked-Value" not in reconciling.log.getvalue()


def test_an_item_that_cannot_be_read_fails_its_record_alone() -> None:
    reconciling = Reconciling()
    broken = entry(1, "north-clinic#Patient#1", "v#a", resource="Marked-Value")
    assert reconciling.failed(broken, version(2, TWO, "a")) == ["1"]
    assert [change.key for change in reconciling.changes] == [TWO]
    assert "Marked-Value" not in reconciling.log.getvalue()


def test_the_function_is_wired_from_its_environment(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("PEER_REGION", "RECORDS_TABLE", "AUDIT_TABLE", "DOCUMENTS_BUCKET", "KEY_ARN", "PEER_DOCUMENTS_BUCKET")
    variables = dict.fromkeys((*names, "PEER_ROLE_ARN", "INDEX_KEY_ALIAS"), "x") | {"LOG_LEVEL": "INFO"}
    with pytest.raises(KeyError, match="AWS_REGION"):
        wire(variables)
    function = wire(variables | {"AWS_REGION": REGION})
    assert function({"Records": [entry(1, "$platform#drain", "us-east-1")]}) == {"batchItemFailures": []}
    assert function({"Records": [entry(2, "north-clinic#Patient#1", "v#a")]}) != {"batchItemFailures": []}
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (line["service"], line["region"], line["code"]) == ("reconciliation", REGION, "UnreadableVersion")
