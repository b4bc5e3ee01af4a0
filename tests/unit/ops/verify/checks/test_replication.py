"""Checks of replication: failed and late documents, replication lag, heartbeats."""

from collections.abc import Mapping
from datetime import datetime, timedelta
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
    """Announced documents of a region by name and age, and the age of the bytes of those that were uploaded."""

    def __init__(self, announced: Mapping[str, timedelta], uploaded: Mapping[str, timedelta] | None = None) -> None:
        self._shelf = sorted((f"{round((NOW - ago).timestamp() * 1000):013d}-0000-{EAST}", name)
                             for name, ago in announced.items())  # fmt: skip
        self._uploaded = uploaded or {}
        self.completed: dict[str, datetime] = {}
        self.heads: list[str] = []

    def answers(self) -> Answers:
        return {
            ("dynamodb", EAST, "query"): self._query,
            ("dynamodb", EAST, "get_item"): self._marker,
            ("s3", EAST, "head_object"): self._head,
        }

    def _query(self, request: Mapping[str, Any]) -> dict[str, Any]:
        values = request["ExpressionAttributeValues"]
        assert values[":shelf"] == {"S": f"$platform#pending#{EAST}"}
        after = request.get("ExclusiveStartKey", {}).get("updated", {}).get("S", "")
        rest = [one for one in self._shelf if after < one[0] < values[":before"]["S"]]
        page = rest[: request["Limit"]]
        items = [
            {"pk": {"S": f"clinic#DocumentReference#{name}"}, "sk": {"S": "pending"}, "updated": {"S": stamp}}
            for stamp, name in page
        ]
        return {"Items": items, **({"LastEvaluatedKey": items[-1]} if len(rest) > len(page) else {})}

    def _marker(self, request: Mapping[str, Any]) -> dict[str, Any]:
        completed = self.completed.get(request["Key"]["pk"]["S"].rpartition("#")[2])
        return {"Item": {"completed": {"S": completed.isoformat()}} if completed else {}}

    def _head(self, request: Mapping[str, Any]) -> Any:
        name = request["Key"].removeprefix("documents/clinic/")
        self.heads.append(name)
        return {"LastModified": NOW - self._uploaded[name]} if name in self._uploaded else refusal("404", 404)


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


def never_uploaded(number: int) -> dict[str, timedelta]:
    return {f"never-{one}": 23 * HOUR - one * timedelta(seconds=1) for one in range(number)}


@pytest.mark.trap(15)
@pytest.mark.parametrize("before", [0, 1, 100, 1000, replication.CHECKED - 1])
def test_stuck_document_is_found_behind_documents_without_upload(before: int) -> None:
    documents = Documents(never_uploaded(before) | {"stuck": 5 * HOUR}, {"stuck": 5 * HOUR})
    (finding,) = late_documents(documents)
    assert (finding.severity, finding.problem) == (
        "failure", "1 documents have not been in us-west-2 for over 120 s",
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 100, 1000, replication.CHECKED])
def test_document_without_upload_is_not_late(number: int) -> None:
    assert late_documents(Documents(never_uploaded(number))) == []


def test_documents_beyond_the_limit_are_unknown() -> None:
    (finding,) = late_documents(Documents(never_uploaded(replication.CHECKED + 1)))
    assert (finding.severity, finding.problem) == (
        "unknown", "more than 5000 announced documents are open, and no more were checked",
    )  # fmt: skip


def test_late_documents_are_counted_on_the_first_page_with_any() -> None:
    names = [f"stuck-{one}" for one in range(replication.PAGE + 1)]
    documents = Documents({name: 5 * HOUR + one * MINUTE for one, name in enumerate(names)}, dict.fromkeys(names, HOUR))
    assert [finding.problem for finding in late_documents(documents)] == [
        "500 or more documents have not been in us-west-2 for over 120 s"
    ]


@pytest.mark.parametrize(
    ("announced", "uploaded", "late"),
    [
        (121, 121, True),
        (7200, 119, False),
        (119, 119, False),
    ],
)
def test_document_is_late_by_the_time_of_its_upload(announced: int, uploaded: int, late: bool) -> None:
    documents = Documents({"a": timedelta(seconds=announced)}, {"a": timedelta(seconds=uploaded)})
    assert bool(late_documents(documents)) == late


def test_document_in_parts_is_late_by_the_time_of_its_completion() -> None:
    documents = Documents({"a": 5 * HOUR}, {"a": 5 * HOUR})
    documents.completed["a"] = NOW - MINUTE
    assert late_documents(documents) == []
    documents.completed["a"] = NOW - 3 * MINUTE
    assert len(late_documents(documents)) == 1


def test_only_documents_old_enough_are_read_under_load() -> None:
    documents = Documents({f"new-{one}": timedelta(milliseconds=one) for one in range(2 * replication.CHECKED)})
    assert problems("documents-pending", live(documents.answers())) == []
    assert documents.heads == []
