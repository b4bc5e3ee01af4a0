"""Checks of replication: documents, table writes, heartbeats and conflicts that one region lacks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from healthcare_dr.ops.drain.preconditions import aws_lag, embedded_lag, open_conflicts
from healthcare_dr.ops.verify.check import Problem, each_region, platform
from healthcare_dr.ops.verify.live_target import LiveTarget, RequestFailedError
from patient_api.contract.keys import HEARTBEAT_PARTITION, UPDATE_INDEX, pending_partition
from patient_api.contract.keys import key as item_key

# Sentinel and sweep run every minute.
SCHEDULE_SECONDS: Final = 60

# The number of documents that are checked.
CHECKED: Final = 5000
PAGE: Final = 500
METRICS_WINDOW: Final = timedelta(minutes=15)


@each_region(
    "documents-pending", "C3", "trap 15",
    expects="No document in the region is unconfirmed for longer than the recovery point and one interval of the sweep",
    why="Such a document is in this region only, and would be lost with it.",
    fix="check the log of the document-confirmation function and the document-replication check; the sweep of every "
    "minute copies late documents",
    gates_restore=True,
    both_regions=True,
)  # fmt: skip
def pending(live: LiveTarget, region: str) -> Iterator[str | Problem]:
    limit = live.settings.replication_lag_seconds + SCHEDULE_SECONDS
    checked = 0
    for page, last in _pending_documents(live, region):
        late = sum((live.now() - stored).total_seconds() > limit for stored in page)
        checked += len(page)
        if late:
            more = "" if last else " or more"
            yield f"{late}{more} documents have not been in {live.peer(region)} for over {limit} s"
            return
        if checked >= CHECKED and not last:
            yield Problem(f"more than {CHECKED} documents are pending, and no more were checked", "unknown")
            return


@each_region(
    "documents-failed", "C3", "trap 11", "trap 15",
    expects="S3's metrics of the last 15 minutes show no failed replication from the region, and no backlog to it",
    why="S3 does not retry a replication that has failed.",
    fix="read the replication events of the operations topic; copy again with S3 Batch Replication",
    gates_restore=True,
    both_regions=True,
)  # fmt: skip
def failed(live: LiveTarget, region: str) -> Iterator[str]:
    here, there = live.documents_bucket(region), live.documents_bucket(live.peer(region))
    failures = _metric(live, region, "OperationsFailedReplication", here, there, "Sum")
    if sum(failures) > 0:
        yield f"{sum(failures):.0f} documents could not be replicated to {live.peer(region)}"
    backlog = _metric(live, region, "OperationsPendingReplication", there, here, "Minimum")
    if len(backlog) >= METRICS_WINDOW // timedelta(minutes=1) - 2 and min(backlog) > 0:
        minutes = METRICS_WINDOW // timedelta(minutes=1)
        yield f"documents from {live.peer(region)} have been pending for {minutes} minutes"


@platform(
    "replication-lag", "C3", "trap 7",
    expects="Writes in either region arrive in the other within the recovery point",
    why="Acknowledged writes that have not arrived are lost with their region.",
    fix="check the replication metrics of both dashboards; do not start a planned failover before the lag is short",
    gates_restore=True,
)  # fmt: skip
def lag(live: LiveTarget, region: str) -> Iterator[str]:
    del region
    limit = live.settings.replication_lag_seconds
    if live.emulator is not None:
        yield from _reasons(embedded_lag(live.emulator, limit_seconds=limit), "replication")
        return
    for source in live.settings.regions:
        for table in (live.names.records_table, live.names.audit_table):
            # Heartbeats are written to the records every minute; the audit table may have no write for hours.
            reasons = aws_lag(
                live.client("cloudwatch", source),
                table=table,
                receiving=live.peer(source),
                limit_seconds=limit,
                always_written=table == live.names.records_table,
            )
            yield from (f"{table} of {source}: {reason}" for reason in _reasons(reasons, "cloudwatch"))


@each_region(
    "heartbeat", "C3", "R6.2", "trap 7", "trap 22",
    expects="The region's sentinel has written a heartbeat lately, and the other region has received it in time",
    why="Without writes there is no lag: only the heartbeat distinguishes idle replication from broken replication.",
    fix="check the log of the region's sentinel, its schedule and its role; `hdr deploy` restores them",
    gates_restore=True,
    both_regions=True,
)  # fmt: skip
def heartbeat(live: LiveTarget, region: str) -> Iterator[str]:
    peer, allowed = live.peer(region), SCHEDULE_SECONDS + live.settings.replication_lag_seconds
    own = _beat(live, region, region)
    if own is None:
        yield "the sentinel has never written a heartbeat"
        return
    age = (live.now() - own).total_seconds()
    if age > allowed:
        yield f"the sentinel's last heartbeat is {age:.0f} s old ({allowed} s allowed)"
    arrived = _beat(live, peer, region)
    if arrived is None:
        yield f"{peer} has never received a heartbeat"
    # The age shows stopped replication one heartbeat earlier than the difference of both heartbeats.
    elif arrived < own and (old := (live.now() - arrived).total_seconds()) > allowed:
        yield f"the heartbeat in {peer} is {old:.0f} s old ({allowed} s allowed), and not the newest"


@each_region(
    "conflicts", "C3", "trap 1",
    expects="No record has concurrent versions that are not merged",
    why="Both versions are kept, but reads return only the newest until a client merges them.",
    fix="see docs/api.md on concurrent versions: a client that writes with both named merges them",
)  # fmt: skip
def conflicts(live: LiveTarget, region: str) -> Iterator[Problem]:
    reasons = open_conflicts(live.client("dynamodb", region), table=live.names.records_table, region=region)
    yield from (Problem(reason, "note") for reason in _reasons(reasons, "dynamodb"))


def _reasons(reasons: list[str], service: str) -> Iterator[str]:
    """Yield the reasons. Raise RequestFailedError if the source did not respond."""
    for reason in reasons:
        if "cannot be" in reason:
            raise RequestFailedError(reason, service=service)
        yield reason


def _pending_documents(live: LiveTarget, region: str) -> Iterator[tuple[list[datetime], bool]]:
    """Yield pages of the times at which pending documents were uploaded, and whether a page is the last."""
    request: dict[str, Any] = {
        "TableName": live.names.records_table,
        "IndexName": UPDATE_INDEX,
        "KeyConditionExpression": "update_shard = :list",
        "ExpressionAttributeValues": {":list": {"S": pending_partition(region)}},
        "Limit": PAGE,
    }
    last = False
    while not last:
        answer = live.request_first_page("dynamodb", region, "query", **request)
        last = "LastEvaluatedKey" not in answer
        yield [_stored(item) for item in answer["Items"]], last
        request = request | {"ExclusiveStartKey": answer.get("LastEvaluatedKey")}


def _stored(item: Any) -> datetime:
    """Return when the region recorded the object of a document."""
    _, millis, _ = item["updated"]["S"].split("#")
    return datetime.fromtimestamp(int(millis) / 1000, UTC)


def _metric(live: LiveTarget, region: str, metric: str, source: str, target: str, statistic: str) -> list[float]:
    end = live.now().replace(second=0, microsecond=0)
    rules = [
        rule["id"]
        for deployed in live.deployed.of("aws_s3_bucket_replication_configuration")
        if deployed["bucket"] == source
        for rule in deployed["rule"]
    ]
    answer = live.request(
        "cloudwatch", region, "get_metric_statistics",
        Namespace="AWS/S3", MetricName=metric,
        Dimensions=[
            {"Name": "SourceBucket", "Value": source}, {"Name": "DestinationBucket", "Value": target},
            {"Name": "RuleId", "Value": rules[0]},
        ],
        StartTime=end - METRICS_WINDOW, EndTime=end, Period=60, Statistics=[statistic],
    )  # fmt: skip
    return [float(point[statistic]) for point in answer["Datapoints"]]


def _beat(live: LiveTarget, region: str, of: str) -> datetime | None:
    key = item_key(HEARTBEAT_PARTITION, of)
    item = live.request(
        "dynamodb", region, "get_item", TableName=live.names.records_table, Key=key, ConsistentRead=True
    ).get("Item")
    return datetime.fromtimestamp(int(item["at"]["N"]) / 1000, UTC) if item else None
