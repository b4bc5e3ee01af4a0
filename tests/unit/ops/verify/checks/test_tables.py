"""Checks of the tables."""

from typing import Any

import pytest

from unit.ops.verify.fakes import WEST, live, problems, refusal


def table(**changed: Any) -> dict[str, Any]:
    stream = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
    replicas = [{"RegionName": WEST, "ReplicaStatus": "ACTIVE"}]
    return {"Table": {"TableStatus": "ACTIVE", "StreamSpecification": stream, "Replicas": replicas} | changed}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (table(), None),
        (table(TableStatus="UPDATING"), "patient_records-dev is UPDATING"),
        (table(Replicas=[]), "patient_records-dev: its replica in us-west-2 is missing"),
        (
            table(Replicas=[{"RegionName": WEST, "ReplicaStatus": "INACCESSIBLE_ENCRYPTION_CREDENTIALS"}]),
            "patient_records-dev: its replica in us-west-2 is INACCESSIBLE_ENCRYPTION_CREDENTIALS",
        ),
        (refusal("ResourceNotFoundException"), "patient_records-dev does not exist"),
    ],
)
def test_tables_and_replicas_are_active(answer: Any, expected: str | None) -> None:
    def describe(request: dict[str, Any]) -> Any:
        return answer if request["TableName"] == "patient_records-dev" else table()

    there = live({("dynamodb", "describe_table"): describe})
    assert problems("table-active", there) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ({"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}, None),
        ({"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}, "streams KEYS_ONLY"),
        ({"StreamEnabled": False}, "streams nothing"),
        (None, "streams nothing"),
    ],
)
def test_tables_stream_both_images(stream: Any, expected: str | None) -> None:
    found = problems("table-stream", live({("dynamodb", "describe_table"): table(StreamSpecification=stream)}))
    assert found == ([f"{name} {expected}" for name in ("patient_records-dev", "audit_logs-dev")] if expected else [])
