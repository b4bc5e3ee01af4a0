"""Tests of event source mappings of table streams, and of S3 event notifications."""

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.replication import Replication
from unit.emulator.aws import EAST, REGIONS, WEST, Aws, allow, eventually, only_when_patched
from unit.emulator.replicas import global_table, item, put, settle, two_buckets

VERSIONS = {"dynamodb": {"Keys": {"sk": {"S": [{"prefix": "v#"}, {"prefix": "l#"}]}}}}
ALL = allow("*")
# Records each event in a file, and reports the configured items as failed.
RECORDS = """
import json, os, time, uuid

FOLDER = {folder!r}

def handler(event, context):
    print("called")
    staging = f"{{FOLDER}}/.{{uuid.uuid4().hex}}"
    with open(staging, "w") as file:
        json.dump(event, file)
    os.rename(staging, f"{{FOLDER}}/{{time.time_ns()}}")
    records = [r["dynamodb"] for r in event.get("Records", []) if "dynamodb" in r]
    bad = [r["SequenceNumber"] for r in records if r["Keys"]["sk"]["S"] == "v#bad"]
    if os.path.exists(f"{{FOLDER}}/.fail") and bad:
        raise RuntimeError("configured to fail")
    return {{"batchItemFailures": [{{"itemIdentifier": number}} for number in bad]}}
"""

SLOW = """
import pathlib, time

def handler(event, context):
    pathlib.Path({file!r}).touch()
    time.sleep(6)
"""


class Recorder:
    """A function that records its events."""

    def __init__(self, aws: Aws, region: str, folder: Path) -> None:
        folder.mkdir()
        self._aws, self._region, self._folder = aws, region, folder
        self.client = aws("lambda", region)
        self.arn = aws.function(uuid.uuid4().hex, RECORDS.format(folder=str(folder)), ALL, region=region)

    def fail(self) -> None:
        """Raise from now on instead of reporting failed items."""
        (self._folder / ".fail").touch()

    def events(self) -> list[dict[str, Any]]:
        names = sorted(entry for entry in self._folder.iterdir() if not entry.name.startswith("."))
        return [json.loads(name.read_text()) for name in names]

    def batches(self) -> list[list[str]]:
        """Return the sort keys of the records that it received."""
        return [[record["dynamodb"]["Keys"]["sk"]["S"] for record in event["Records"]] for event in self.events()]

    def read(self, table: str, pattern: object = VERSIONS, **options: Any) -> None:
        """Map the stream of a table's replica to it; by default only version items."""
        self.client.create_event_source_mapping(
            EventSourceArn=stream_of(self._aws, table, self._region),
            FunctionName=self.arn,
            StartingPosition="LATEST",
            FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]},
            FunctionResponseTypes=["ReportBatchItemFailures"],
            **options,
        )


def stream_of(aws: Aws, table: str, region: str) -> str:
    return str(aws("dynamodb", region).describe_table(TableName=table)["Table"]["LatestStreamArn"])


Recorders = Callable[[Aws, str], Recorder]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorders:
    return lambda aws, region: Recorder(aws, region, tmp_path / uuid.uuid4().hex)


@pytest.fixture
def recorders(patched: Aws, recorder: Recorders) -> dict[str, Recorder]:
    """A function in each region."""
    return {region: recorder(patched, region) for region in REGIONS}


def test_mapping_gets_local_and_replicated_writes(
    emulator: Emulator, patched: Aws, recorders: dict[str, Recorder]
) -> None:
    table = global_table(patched)
    for function in recorders.values():
        function.read(table)
    put(patched, EAST, table, "head")
    put(patched, EAST, table, "v#1")
    for region, function in recorders.items():
        assert eventually(function.batches)
        assert function.batches() == [["v#1"]]
        assert function.events()[0]["Records"][0]["awsRegion"] == region
    settle(emulator)


def test_mapping_filter_selects_changes(emulator: Emulator, patched: Aws, recorders: dict[str, Recorder]) -> None:
    table = global_table(patched)
    for function in recorders.values():
        function.read(table, {"eventName": ["MODIFY", "REMOVE"]})
    put(patched, EAST, table, "kept")
    put(patched, EAST, table, "changed")
    settle(emulator)
    put(patched, EAST, table, "changed", by="another")
    settle(emulator)
    patched("dynamodb", WEST).delete_item(TableName=table, Key=item("changed"))
    assert eventually(lambda: all(sum(map(len, function.batches())) >= 2 for function in recorders.values()))
    for function in recorders.values():
        records = [record for event in function.events() for record in event["Records"]]
        changes = [(record["eventName"], record["dynamodb"]["Keys"]["sk"]["S"]) for record in records]
        assert changes == [("MODIFY", "changed"), ("REMOVE", "changed")]


def test_failing_item_is_retried_without_limits(patched: Aws, recorder: Recorders) -> None:
    table, function = global_table(patched), recorder(patched, EAST)
    unlimited = {"MaximumRetryAttempts": -1, "MaximumRecordAgeInSeconds": -1, "BisectBatchOnFunctionError": True}
    function.read(table, BatchSize=1, **unlimited)
    put(patched, EAST, table, "v#bad")
    put(patched, EAST, table, "v#after")
    assert eventually(lambda: len(function.batches()) > 3)
    assert {name for batch in function.batches() for name in batch} == {"v#bad"}


@pytest.mark.parametrize("raises", [False, True], ids=["names-it", "raises"])
@only_when_patched
def test_failing_item_is_isolated_and_skipped(aws: Aws, recorder: Recorders, raises: bool) -> bool:
    table, function = global_table(aws), recorder(aws, EAST)
    if raises:
        function.fail()
    function.read(table, MaximumRetryAttempts=1, BisectBatchOnFunctionError=True)
    names = ["v#1", "v#bad", "v#2", "v#3"]
    writes = [{"Put": {"TableName": table, "Item": item(name)}} for name in names]
    aws("dynamodb").transact_write_items(TransactItems=writes)
    put(aws, EAST, table, "v#after")

    def isolated() -> bool:
        # It is also retried alone, and later items are processed without it.
        done = [name for batch in function.batches() if "v#bad" not in batch for name in batch]
        return ["v#bad"] in function.batches() and {"v#2", "v#3", "v#after"} <= set(done)

    # A function that raises is restarted for each of five attempts, which is slow on a busy machine.
    return bool(eventually(isolated, within=60 if aws.emulator.patched else 8))


def test_throttled_function_misses_no_records(patched: Aws, recorder: Recorders) -> None:
    table, function = global_table(patched), recorder(patched, EAST)
    function.read(table, MaximumRetryAttempts=0)
    function.client.put_function_concurrency(FunctionName=function.arn, ReservedConcurrentExecutions=0)
    put(patched, EAST, table, "v#1")
    time.sleep(1.5)
    assert function.batches() == []
    function.client.delete_function_concurrency(FunctionName=function.arn)
    assert eventually(function.batches)
    assert function.batches() == [["v#1"]]


@only_when_patched
def test_slow_function_does_not_block_the_other_region(aws: Aws, recorder: Recorders, tmp_path: Path) -> bool:
    tables = {region: global_table(aws) for region in REGIONS}
    at_work = tmp_path / uuid.uuid4().hex
    source = SLOW.format(file=str(at_work))
    aws("lambda").create_event_source_mapping(
        EventSourceArn=stream_of(aws, tables[EAST], EAST),
        FunctionName=aws.function(uuid.uuid4().hex, source, ALL),
        StartingPosition="LATEST",
    )
    quick = recorder(aws, WEST)
    quick.read(tables[WEST])
    put(aws, EAST, tables[EAST], "v#1")
    assert eventually(at_work.exists)
    put(aws, WEST, tables[WEST], "v#1")
    return bool(eventually(quick.batches, within=5))


@pytest.mark.parametrize("patched", [True, False])
def test_unread_records_survive_a_restart(
    make_emulator: Callable[..., Emulator], recorder: Recorders, patched: bool
) -> None:
    emulator = make_emulator(patched=patched)
    emulator.set_replication(tables=False)
    emulator.start()
    aws = Aws(emulator)
    table, function = global_table(aws), recorder(aws, WEST)
    function.read(table)
    put(aws, WEST, table, "v#before")
    assert eventually(function.batches)
    # Written during the stop: the function can be invoked only after the next start.
    put(aws, EAST, table, "v#meanwhile")
    emulator.stop()
    emulator.start()
    put(aws, WEST, table, "v#after")

    def seen() -> bool:
        return {"v#before", "v#meanwhile", "v#after"} <= {name for batch in function.batches() for name in batch}

    assert eventually(seen, within=10 if patched else 2) is patched
    emulator.stop()


def test_s3_events_invoke_the_function_in_the_buckets_region(
    emulator: Emulator, patched: Aws, recorders: dict[str, Recorder]
) -> None:
    buckets = two_buckets(patched)
    for region, function in recorders.items():
        function.client.add_permission(
            FunctionName=function.arn,
            StatementId="s3",
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=f"arn:aws:s3:::{buckets.names[region]}",
        )
        notice = {
            "LambdaFunctionArn": function.arn,
            "Events": ["s3:ObjectCreated:*"],
            "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "documents/"}]}},
        }
        buckets.s3(region).put_bucket_notification_configuration(
            Bucket=buckets.names[region], NotificationConfiguration={"LambdaFunctionConfigurations": [notice]}
        )
    upload = {"Bucket": buckets.names[EAST], "Key": "documents/clinic/a b"}
    buckets.put(EAST, "elsewhere/1")
    parts = buckets.s3(EAST).create_multipart_upload(**upload)["UploadId"]
    part = buckets.s3(EAST).upload_part(**upload, UploadId=parts, PartNumber=1, Body=b"content")
    version = buckets.s3(EAST).complete_multipart_upload(
        **upload, UploadId=parts, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )["VersionId"]
    expected = {EAST: "ObjectCreated:CompleteMultipartUpload", WEST: "ObjectCreated:Put"}
    for region, function in recorders.items():
        assert eventually(function.events)
        (event,) = function.events()
        (record,) = event["Records"]
        assert (record["eventName"], record["awsRegion"]) == (expected[region], region)
        assert record["s3"]["bucket"]["name"] == buckets.names[region]
        assert (record["s3"]["object"]["key"], record["s3"]["object"]["versionId"]) == (
            "documents/clinic/a+b",
            version,
        )
    settle(emulator)
    assert emulator.replication() == Replication()
