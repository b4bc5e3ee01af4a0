"""The stream processor, with batches in the form of Lambda."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from patient_api.bootstrap import stream_processor
from patient_api.clock import Stamp
from patient_api.contract.keys import HEARTBEAT_PARTITION
from patient_api.errors import StorageFault
from patient_api.logging import StructuredLog
from patient_api.region.heartbeat import ReplicationLag
from patient_api.store.model import RecordKey
from patient_api.store.reconciliation import Change, Link
from patient_api.store.stream import StreamProcessor
from unit.patient_api.fakes.aws import AUDIT, ENVIRONMENT, PEER, RECORDS, REGION, START_MS
from unit.patient_api.fakes.log import FakeLog

Entry = dict[str, Any]
A, B, C = (Stamp(START_MS, counter, REGION) for counter in range(3))
ONE, TWO, THREE = (RecordKey("north-clinic", "Patient", name) for name in ("1", "2", "3"))


class Reconciling:
    """A stream processor with a fake reconciler that fails for some records."""

    def __init__(self, **faults: Exception) -> None:
        self.changes: list[Change] = []
        self.faults = faults
        self.log = FakeLog()
        structured_log = StructuredLog(service="reconciliation", region=REGION, stream=self.log)
        self.now_ms = START_MS
        heartbeats = ReplicationLag(
            peer_region=PEER,
            log=StructuredLog(service="sentinel", region=REGION, stream=self.log),
            now_ms=lambda: self.now_ms,
        )
        self.function = StreamProcessor(
            reconcile=self._reconcile, audit_table=AUDIT, lag=heartbeats, log=structured_log
        )

    def _reconcile(self, change: Change) -> None:
        self.changes.append(change)
        if f"record{change.key.id}" in self.faults:
            raise self.faults[f"record{change.key.id}"]

    def failed(self, *stream: Entry) -> list[str]:
        response = self.function({"Records": list(stream)})
        assert response.keys() == {"batchItemFailures"}
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def entry(number: int, pk: str, sk: str, *, change: str = "INSERT", table: str = RECORDS, **texts: str) -> Entry:
    """Return one change of a stream."""
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    image = keys | {name: {"S": text} for name, text in texts.items()}
    return {
        "eventName": change,
        "eventSource": "aws:dynamodb",
        "eventSourceARN": f"arn:aws:dynamodb:{REGION}:123456789012:table/{table}/stream/2027-01-15T08:00:00.000",
        "dynamodb": {
            "Keys": keys,
            "SequenceNumber": str(number),
            **({} if change == "REMOVE" else {"NewImage": image}),
        },
    }


def version(number: int, key: RecordKey, stamp: Stamp, *, change: str = "INSERT", **texts: str) -> Entry:
    pk = f"{key.tenant}#{key.type}#{key.id}"
    texts |= {"version": str(stamp), "resource": "Marked-Value", "method": "PUT", "digest": "d"}
    return entry(number, pk, f"v#{stamp}", change=change, **texts)


def lineage(number: int, key: RecordKey, stamp: Stamp, *, change: str = "INSERT", **texts: str) -> Entry:
    texts |= {"version": str(stamp), "digest": "d"}
    return entry(number, key.partition, f"l#{stamp}", change=change, **texts)


def test_record_is_reconciled_once_per_batch() -> None:
    reconciling = Reconciling()
    stream = [
        version(1, ONE, A),
        lineage(2, ONE, A),
        version(3, TWO, A),
        lineage(4, ONE, C, replaces=str(A)),
        version(5, ONE, C, replaces=str(A)),
        version(6, ONE, B),
    ]
    assert reconciling.failed(*stream) == []
    one, two = reconciling.changes
    links = [Link(str(A), ("0",), "d"), Link(str(C), (str(A),), "d"), Link(str(B), ("0",), "d")]
    assert (one.key, one.links) == (ONE, tuple(links))
    assert one.newest is not None
    assert (one.newest.key, one.newest.stamp, one.newest.resource) == (ONE, C, "Marked-Value")
    assert two.newest is not None
    assert (two.key, two.links, two.newest.stamp) == (TWO, tuple(links[:1]), A)


def test_lineage_item_without_its_version_is_reconciled() -> None:
    reconciling = Reconciling()
    assert reconciling.failed(lineage(1, ONE, A)) == []
    assert reconciling.changes == [Change(ONE, (Link(str(A), ("0",), "d"),))]


@pytest.mark.parametrize("change", ["INSERT", "MODIFY", "REMOVE"])
@pytest.mark.parametrize(
    ("pk", "sk"),
    [
        ("$platform#drain", "us-east-1"),
        ("$platform#heartbeat#x", "head"),
        ("north-clinic#Patient#1", "c#0"),
        ("north-clinic#Patient#1", "head#us-east-1"),
        ("north-clinic#DocumentReference#1", "replica#us-east-1"),
        ("north-clinic#Patient?family#0f", "1"),
    ],
)
def test_items_that_are_no_versions_are_ignored(pk: str, sk: str, change: str) -> None:
    reconciling = Reconciling()
    assert reconciling.failed(entry(1, pk, sk, change=change, version="a")) == []
    assert reconciling.changes == []
    assert reconciling.log.lines() == []


@pytest.mark.parametrize("change", ["MODIFY", "REMOVE"])
@pytest.mark.parametrize(("item", "prefix"), [(version, "v#"), (lineage, "l#")])
def test_changed_version_is_reported_and_not_reconciled(change: str, item: Callable[..., Entry], prefix: str) -> None:
    reconciling = Reconciling()
    assert reconciling.failed(item(1, ONE, A, change=change), version(2, TWO, A)) == []
    assert [found.key for found in reconciling.changes] == [TWO]
    line, metric = reconciling.log.lines()
    assert (line["level"], line["message"]) == ("ERROR", "an item that must not change was changed")
    assert (line["change"], line["pk"], line["sk"]) == (change, "north-clinic#Patient#1", f"{prefix}{A}")
    assert metric["TamperedItems"] == [1]
    assert "Marked-Value" not in reconciling.log.getvalue()


@pytest.mark.parametrize("change", ["MODIFY", "REMOVE"])
def test_changed_audit_event_is_reported(change: str) -> None:
    reconciling = Reconciling()
    keys = "north-clinic#2027-01-15T08#03", "2027-01-15T08:00:00.000Z#e-1"
    assert reconciling.failed(entry(1, *keys, change=change, table=AUDIT, subject="Marked-Value")) == []
    assert reconciling.failed(entry(2, *keys, change="INSERT", table=AUDIT)) == []
    line, metric = reconciling.log.lines()
    assert (line["change"], line["pk"], line["sk"]) == (change, *keys)
    assert metric["TamperedItems"] == [1]
    assert "Marked-Value" not in reconciling.log.getvalue()


def test_change_with_equal_images_is_not_reported() -> None:
    reconciling = Reconciling()
    change = version(1, ONE, A, change="MODIFY")
    change["dynamodb"]["OldImage"] = change["dynamodb"]["NewImage"] = {"pk": {"S": "p"}}
    assert reconciling.failed(change) == []
    assert reconciling.log.lines() == []
    change["dynamodb"]["NewImage"] = {"pk": {"S": "other"}}
    assert reconciling.failed(change) == []
    assert [line["TamperedItems"] for line in reconciling.log.lines() if "TamperedItems" in line] == [[1]]


def test_storage_fault_fails_only_its_record() -> None:
    fault = StorageFault(operation="Query", code="ThrottlingException", throttled=True)
    reconciling = Reconciling(record2=fault, record3=StorageFault(operation="Query", code="KMSDisabled", of_key=True))
    stream = [version(1, ONE, A), version(2, TWO, A), version(3, THREE, A), version(4, TWO, B), version(5, ONE, B)]
    assert reconciling.failed(*stream) == ["2", "3"]
    assert [change.key for change in reconciling.changes] == [ONE, TWO, THREE]
    (line, *_) = [line for line in reconciling.log.lines() if line.get("message") == "storage fault"]
    assert (line["code"], line["record"], line["tenant"]) == ("ThrottlingException", "Patient/2", "north-clinic")
    metrics = {name for line in reconciling.log.lines() for name in line if name.endswith("Failures")}
    assert metrics == {"StorageFailures", "KeyFailures"}


def test_unexpected_exception_fails_only_its_record_and_logs_no_data() -> None:
    reconciling = Reconciling(record1=ValueError("Marked-Value"))
    assert reconciling.failed(version(1, ONE, A), version(2, TWO, A)) == ["1"]
    (line,) = reconciling.log.lines()
    assert (line["message"], line["record"]) == ("unexpected exception", "Patient/1")
    assert "Marked-Value" not in reconciling.log.getvalue()


def test_unreadable_item_fails_only_its_record() -> None:
    reconciling = Reconciling()
    broken = entry(1, "north-clinic#Patient#1", f"v#{A}", resource="Marked-Value")
    assert reconciling.failed(broken, version(2, TWO, A)) == ["1"]
    assert [change.key for change in reconciling.changes] == [TWO]
    assert "Marked-Value" not in reconciling.log.getvalue()


def heartbeat(number: int, *, at: str, region: str = PEER, change: str = "MODIFY", arrived: int | None = None) -> Entry:
    found = entry(number, HEARTBEAT_PARTITION, region, change=change)
    if change != "REMOVE":
        found["dynamodb"]["NewImage"] |= {"at": {"N": at}, "endpoint": {"S": "https://api"}}
    if arrived is not None:
        found["dynamodb"]["ApproximateCreationDateTime"] = arrived
    return found


@pytest.mark.trap(7)
@pytest.mark.parametrize("change", ["INSERT", "MODIFY"])
def test_heartbeat_of_the_peer_publishes_replication_lag(change: str) -> None:
    reconciling = Reconciling()
    assert reconciling.failed(heartbeat(1, at=str(START_MS - 1_500), change=change), version(2, ONE, A)) == []
    (metric,) = reconciling.log.lines()
    assert (metric["service"], metric["ReplicationLag"]) == ("sentinel", [1.5])
    assert metric["_aws"]["CloudWatchMetrics"][0]["Metrics"] == [{"Name": "ReplicationLag", "Unit": "Seconds"}]
    assert [found.key for found in reconciling.changes] == [ONE]


def test_reading_the_stream_late_adds_no_lag() -> None:
    reconciling = Reconciling()
    reconciling.now_ms = START_MS + 3_600_000
    reconciling.failed(heartbeat(1, at=str(START_MS), arrived=START_MS // 1000 + 2))
    assert [metric["ReplicationLag"] for metric in reconciling.log.lines()] == [[3.0]]


def test_lag_is_never_negative() -> None:
    reconciling = Reconciling()
    reconciling.failed(heartbeat(1, at=str(START_MS + 50)))
    assert [metric["ReplicationLag"] for metric in reconciling.log.lines()] == [[0.0]]


def test_own_and_removed_heartbeats_are_ignored() -> None:
    reconciling = Reconciling()
    own = heartbeat(1, at=str(START_MS), region=REGION)
    assert reconciling.failed(own, heartbeat(2, at="0", change="REMOVE"), entry(3, "$platform#drain", PEER)) == []
    assert reconciling.log.lines() == []


def test_unreadable_heartbeat_is_logged_and_skipped() -> None:
    reconciling = Reconciling()
    assert reconciling.failed(heartbeat(1, at="soon"), version(2, ONE, A)) == []
    (line,) = reconciling.log.lines()
    assert (line["service"], line["code"]) == ("sentinel", "UnreadableHeartbeat")
    assert [found.key for found in reconciling.changes] == [ONE]


def test_function_is_composed_from_its_environment(capsys: pytest.CaptureFixture[str]) -> None:
    variables = ENVIRONMENT.variables()
    with pytest.raises(KeyError, match="AWS_REGION"):
        stream_processor(variables)
    function = stream_processor(variables | {"AWS_REGION": REGION})
    assert function({"Records": [entry(1, "$platform#drain", "us-east-1")]}) == {"batchItemFailures": []}
    assert function({"Records": [entry(2, "north-clinic#Patient#1", "v#a")]}) != {"batchItemFailures": []}
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (line["service"], line["region"], line["code"]) == ("reconciliation", REGION, "UnreadableVersion")
