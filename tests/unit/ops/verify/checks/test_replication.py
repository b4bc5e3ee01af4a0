"""Checks of replication: failed and late documents, replication lag, heartbeats."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from healthcare_dr.ops.verify.check import Finding
from healthcare_dr.ops.verify.checks import replication
from unit.ops.verify.fakes import EAST, NOW, WEST, Answers, deployed, found, live, points, problems, refusal, resource

REPLICATED = deployed(
    common=[
        resource(
            "aws_s3_bucket_replication_configuration", name, alias=alias,
            bucket=f"hdr-documents-123456789012-{region}-dev", rule=[{"id": "all"}],
        )
        for name, alias, region in (("one", "", EAST), ("other", "secondary", WEST))
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("failures", "backlog", "expected"),
    [
        (points(), points(), []),
        (points(0, 0), points(*[3.0] * 14, 0, statistic="Minimum"), []),
        (points(0, 2), points(), ["2 documents could not be replicated to us-west-2"]),
        (points(), points(5, 5, 5, statistic="Minimum"), []),
        (
            points(), points(*[5.0] * 15, statistic="Minimum"),
            ["documents from us-west-2 have been pending for 15 minutes"],
        ),
    ],
)  # fmt: skip
def test_failed_replication_of_s3_is_found(failures: Any, backlog: Any, expected: list[str]) -> None:
    def answer(request: dict[str, Any]) -> Any:
        here, there = (f"hdr-documents-123456789012-{region}-dev" for region in (EAST, WEST))
        failed = request["MetricName"] == "OperationsFailedReplication"
        assert [part["Value"] for part in request["Dimensions"]] == [
            *((here, there) if failed else (there, here)),
            "all",
        ]
        assert request["EndTime"] - request["StartTime"] == timedelta(minutes=15)
        return failures if failed else backlog

    there = live({("cloudwatch", "get_metric_statistics"): answer}, held=REPLICATED)
    assert problems("documents-failed", there) == expected


@pytest.mark.trap(7)
def test_lag_on_aws_is_read_from_published_metrics() -> None:
    def answer(request: dict[str, Any]) -> Any:
        receiving = request["Dimensions"][1]["Value"]
        return points(90_000 if receiving == EAST else 10, statistic="Maximum")

    assert problems("replication-lag", live({("cloudwatch", "get_metric_statistics"): answer})) == [
        f"{table} of us-west-2: replication to us-east-1 is 90.0 s late"
        for table in ("patient_records-dev", "audit_logs-dev")
    ]


@pytest.mark.trap(7)
def test_missing_metrics_are_a_problem_of_the_table_with_heartbeats() -> None:
    assert problems("replication-lag", live({("cloudwatch", "get_metric_statistics"): points()})) == [
        f"patient_records-dev of {source}: CloudWatch has no ReplicationLatency to {receiving} of the last 5 minutes"
        for source, receiving in ((EAST, WEST), (WEST, EAST))
    ]


def test_unreadable_lag_is_unknown() -> None:
    (finding,) = found("replication-lag", live({("cloudwatch", "get_metric_statistics"): refusal("Throttling")}))
    assert (finding.severity, finding.service) == ("unknown", "cloudwatch")


HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Documents:
    """Pending documents of a region, by their age."""

    def __init__(self, *ages: timedelta) -> None:
        self._entries = sorted(
            f"clinic-{number % 3}#{round((NOW - age).timestamp() * 1000):013d}#{number}"
            for number, age in enumerate(ages)
        )

    def answers(self) -> Answers:
        return {("dynamodb", EAST, "query"): self._query}

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert request["ExpressionAttributeValues"] == {":list": {"S": f"$platform#pending#{EAST}"}}
        after = request.get("ExclusiveStartKey", {}).get("updated", {}).get("S", "")
        rest = [entry for entry in self._entries if entry > after]
        page = rest[: request["Limit"]]
        items = [{"updated": {"S": entry}} for entry in page]
        return {"Items": items, **({"LastEvaluatedKey": items[-1]} if len(rest) > len(page) else {})}


def heartbeats(**ages: float | None) -> Answers:
    """Return the heartbeat of us-east-1 with its age in seconds in us-east-1, `here`, and in us-west-2, `there`."""

    def beat(age: float | None) -> dict[str, Any]:
        at = "" if age is None else str(round((NOW.timestamp() - age) * 1000))
        return {"Item": {"at": {"N": at}}} if at else {}

    return {
        ("dynamodb", EAST, "get_item"): beat(ages["here"]),
        ("dynamodb", WEST, "get_item"): beat(ages["there"]),
    }


@pytest.mark.trap(7)
@pytest.mark.parametrize(
    ("here", "there", "expected"),
    [
        (5, 5, []),
        (5, 65, []),
        (59, 119, []),
        # One heartbeat has not arrived: replication stopped one to two minutes ago.
        (61, 121, ["the heartbeat in us-west-2 is 121 s old (120 s allowed), and not the newest"]),
        (1, 121, ["the heartbeat in us-west-2 is 121 s old (120 s allowed), and not the newest"]),
        (121, 121, ["the sentinel's last heartbeat is 121 s old (120 s allowed)"]),
        (5, None, ["us-west-2 has never received a heartbeat"]),
        (None, 5, ["the sentinel has never written a heartbeat"]),
    ],
)
def test_stopped_replication_shows_in_the_heartbeat_age(
    here: float | None, there: float | None, expected: list[str]
) -> None:
    assert problems("heartbeat", live(heartbeats(here=here, there=there))) == expected


def late_documents(documents: Documents) -> list[Finding]:
    return found("documents-pending", live(documents.answers()))


@pytest.mark.trap(15)
@pytest.mark.parametrize("before", [0, 1, 100, 1000, replication.CHECKED - 1])
def test_stuck_document_is_found_among_recent_uploads(before: int) -> None:
    documents = Documents(*[timedelta(milliseconds=number) for number in range(before)], 5 * HOUR)
    (finding,) = late_documents(documents)
    assert finding.severity == "failure"
    assert re.fullmatch("1( or more)? documents have not been in us-west-2 for over 120 s", finding.problem)


@pytest.mark.parametrize("number", [0, 1, 1000, replication.CHECKED])
def test_recent_uploads_are_not_late(number: int) -> None:
    assert late_documents(Documents(*[MINUTE] * number)) == []


def test_documents_beyond_the_limit_are_unknown() -> None:
    (finding,) = late_documents(Documents(*[MINUTE] * (replication.CHECKED + 1)))
    assert (finding.severity, finding.problem) == (
        "unknown", "more than 5000 documents are pending, and no more were checked",
    )  # fmt: skip


def test_late_documents_are_counted_on_the_first_page_with_any() -> None:
    documents = Documents(*[5 * HOUR + one * MINUTE for one in range(replication.PAGE + 1)])
    assert [finding.problem for finding in late_documents(documents)] == [
        "500 or more documents have not been in us-west-2 for over 120 s"
    ]


@pytest.mark.parametrize(("age", "late"), [(121, True), (119, False)])
def test_document_is_late_by_the_time_of_its_upload(age: int, late: bool) -> None:
    assert bool(late_documents(Documents(timedelta(seconds=age)))) == late
