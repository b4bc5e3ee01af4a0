"""What one region holds and the other lacks, however much of it there is and however young."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from healthcare_dr.ops.verify.check import Finding
from healthcare_dr.ops.verify.checks import replication
from unit.ops.verify.fakes import EAST, NOW, WEST, found, live, problems, refusal

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


class Documents:
    """Announced documents, by name and how long ago, and when the bytes of some came, as one region has them."""

    def __init__(self, announced: Mapping[str, timedelta], uploaded: Mapping[str, timedelta] | None = None) -> None:
        self._shelf = sorted((f"{round((NOW - ago).timestamp() * 1000):013d}-0000-{EAST}", name)
                             for name, ago in announced.items())  # fmt: skip
        self._uploaded = uploaded or {}
        self.completed: dict[str, datetime] = {}
        self.heads: list[str] = []

    def answers(self) -> dict[tuple[str, ...], Any]:
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


def heartbeats(**ages: float | None) -> dict[tuple[str, ...], Any]:
    """Answers with the age in seconds of the heartbeat of us-east-1 `here` and in us-west-2, `there`."""

    def beat(age: float | None) -> dict[str, Any]:
        at = "" if age is None else str(round((NOW.timestamp() - age) * 1000))
        return {"Item": {"at": {"N": at}}} if at else {}

    return {
        ("dynamodb", EAST, "get_item"): beat(ages["here"]),
        ("dynamodb", WEST, "get_item"): beat(ages["there"]),
    }


@pytest.mark.trap(7)
@pytest.mark.parametrize(
    ("here", "there", "says"),
    [
        (5, 5, []),
        (5, 65, []),
        (59, 119, []),
        # One heartbeat has not arrived: the link stands still for two minutes at most, and for one at least.
        (61, 121, ["the heartbeat that us-west-2 has is 121 s old (120 s allowed), and not the newest"]),
        (1, 121, ["the heartbeat that us-west-2 has is 121 s old (120 s allowed), and not the newest"]),
        (121, 121, ["the sentinel's last heartbeat is 121 s old (120 s allowed)"]),
        (5, None, ["no heartbeat has ever reached us-west-2"]),
        (None, 5, ["the sentinel has never written a heartbeat"]),
    ],
)
def test_stopped_replication_shows_in_the_heartbeat_age(
    here: float | None, there: float | None, says: list[str]
) -> None:
    assert problems("heartbeat", live(heartbeats(here=here, there=there))) == says


def told(documents: Documents) -> list[Finding]:
    return found("documents-pending", live(documents.answers()))


def never_uploaded(number: int) -> dict[str, timedelta]:
    return {f"never-{one}": 23 * HOUR - one * timedelta(seconds=1) for one in range(number)}


@pytest.mark.trap(15)
@pytest.mark.parametrize("before", [0, 1, 100, 1000, replication.LOOKED_AT - 1])
def test_stuck_document_is_found_behind_documents_without_upload(before: int) -> None:
    documents = Documents(never_uploaded(before) | {"stuck": 5 * HOUR}, {"stuck": 5 * HOUR})
    (finding,) = told(documents)
    assert (finding.severity, finding.problem) == (
        "failure", "1 documents have been waiting for us-west-2 for over 120 s",
    )  # fmt: skip


@pytest.mark.parametrize("number", [0, 1, 100, 1000, replication.LOOKED_AT])
def test_document_without_upload_is_not_late(number: int) -> None:
    assert told(Documents(never_uploaded(number))) == []


def test_documents_beyond_the_limit_are_unknown() -> None:
    (finding,) = told(Documents(never_uploaded(replication.LOOKED_AT + 1)))
    assert (finding.severity, finding.problem) == (
        "unknown", "more than 5000 announced documents are open, and no more were looked at",
    )  # fmt: skip


def test_late_ones_are_counted_up_to_the_first_page_that_has_any() -> None:
    names = [f"stuck-{one}" for one in range(replication.PAGE + 1)]
    documents = Documents({name: 5 * HOUR + one * MINUTE for one, name in enumerate(names)}, dict.fromkeys(names, HOUR))
    assert [finding.problem for finding in told(documents)] == [
        "500 or more documents have been waiting for us-west-2 for over 120 s"
    ]


@pytest.mark.parametrize(
    ("announced", "uploaded", "late"),
    [
        (121, 121, True),
        (7200, 119, False),
        (119, 119, False),
    ],
)
def test_a_document_is_late_by_when_its_bytes_came(announced: int, uploaded: int, late: bool) -> None:
    documents = Documents({"a": timedelta(seconds=announced)}, {"a": timedelta(seconds=uploaded)})
    assert bool(told(documents)) == late


def test_a_document_of_parts_is_late_by_when_they_were_put_together() -> None:
    documents = Documents({"a": 5 * HOUR}, {"a": 5 * HOUR})
    documents.completed["a"] = NOW - MINUTE
    assert told(documents) == []
    documents.completed["a"] = NOW - 3 * MINUTE
    assert len(told(documents)) == 1


def test_only_documents_old_enough_are_read_under_load() -> None:
    documents = Documents({f"new-{one}": timedelta(milliseconds=one) for one in range(2 * replication.LOOKED_AT)})
    assert problems("documents-pending", live(documents.answers())) == []
    assert documents.heads == []
