"""Read the state of DNS, of replication and of conflicts, before a region is drained or restored."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import EmulatorError
from healthcare_dr.ops.conflicts import query_pages
from healthcare_dr.ops.ports import EmbeddedAws
from patient_api.contract.keys import OPEN_CONFLICTS, UPDATE_INDEX

ANSWERS: Final = 8
ARRIVAL_SECONDS: Final = 10.0
OVERDUE_SECONDS: Final = 2.0
LATENCY_WINDOW: Final = timedelta(minutes=5)


def counted(server: tuple[str, int], name: str) -> Mapping[str, int] | None:
    """Return how often each region is the target of CNAME `name` in 8 answers of a server; None without a response."""
    import dns.exception
    import dns.message
    import dns.query
    import dns.rdatatype

    regions: Counter[str] = Counter()
    for _ in range(ANSWERS):
        query = dns.message.make_query(name, "CNAME")
        try:
            answer = dns.query.udp(query, server[0], port=server[1], timeout=2)
        except (dns.exception.DNSException, OSError):
            return None
        for found in answer.answer:
            if found.rdtype == dns.rdatatype.CNAME:
                labels = found[0].to_text().split(".")
                regions[labels[2] if len(labels) > 2 else ""] += 1
    return regions or None


def first_answering(name_servers: Sequence[str], name: str) -> Mapping[str, int] | None:
    """Return `counted` of the first of the zone's own name servers that responds."""
    import socket

    for host in name_servers:
        try:
            address = socket.gethostbyname(host)
        except OSError:
            continue
        counts = counted((address, 53), name)
        if counts is not None:
            return counts
    return None


def embedded_lag(
    emulator: EmbeddedAws,
    *,
    limit_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[str]:
    """Return the reasons why the regions' data differ: replication is paused, its lag is too long, or it is behind for
    over 10 s.

    Writes that are younger than the lag do not count.
    """
    try:
        state = emulator.replication()
        if not (state.tables and state.documents):
            return ["replication is paused"]
        if state.lag_seconds > limit_seconds:
            return [f"replication lags by {state.lag_seconds:g} s"]
        deadline, due = clock() + ARRIVAL_SECONDS, state.lag_seconds + OVERDUE_SECONDS
        while (waiting := emulator.waiting_seconds()) > due and clock() < deadline:
            sleep(0.2)
    except EmulatorError as error:
        return [f"the state of replication cannot be read: {error}"]
    return [f"a write of {waiting:.0f} s ago has not been replicated"] if waiting > due else []


def aws_lag(
    cloudwatch: Any,
    *,
    table: str,
    receiving: str,
    limit_seconds: int,
    always_written: bool = True,
    now: datetime | None = None,
) -> list[str]:
    """Return the reasons why replication to `receiving` is too late, by the sending region's metrics of 5 minutes.

    If replication stopped more recently, older metrics remain; heartbeats show that. Missing metrics are a reason only
    for a table that is `always_written`, such as the one with the heartbeats.
    """
    end = now or datetime.now(UTC)
    try:
        answer = cloudwatch.get_metric_statistics(
            Namespace="AWS/DynamoDB",
            MetricName="ReplicationLatency",
            Dimensions=[
                {"Name": "TableName", "Value": table},
                {"Name": "ReceivingRegion", "Value": receiving},
            ],
            StartTime=end - LATENCY_WINDOW,
            EndTime=end,
            Period=60,
            Statistics=["Maximum"],
        )
    except (ClientError, BotoCoreError) as error:
        return [f"the state of replication cannot be read: {' '.join(str(error).split())}"]
    points = [float(point["Maximum"]) for point in answer["Datapoints"]]
    if not points:
        silent = f"CloudWatch has no ReplicationLatency to {receiving} of the last 5 minutes"
        return [silent] if always_written else []
    late = max(points) / 1000
    return [f"replication to {receiving} is {late:.1f} s late"] if late > limit_seconds else []


def open_conflicts(client: Any, *, table: str, region: str) -> list[str]:
    """Return the number of open conflicts in a region as a reason; `client` is a DynamoDB client of the region."""
    request = {
        "TableName": table,
        "IndexName": UPDATE_INDEX,
        "KeyConditionExpression": "update_shard = :shelf",
        "ExpressionAttributeValues": {":shelf": {"S": OPEN_CONFLICTS}},
        "Select": "COUNT",
    }
    try:
        found = sum(int(page["Count"]) for page in query_pages(client, request))
    except (ClientError, BotoCoreError) as error:
        return [f"conflicts in {region} cannot be counted: {' '.join(str(error).split())}"]
    return [f"{found} conflicts are open in {region}"] if found else []
