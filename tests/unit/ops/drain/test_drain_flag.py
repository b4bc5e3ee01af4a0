"""The drain flag and its audit item."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drain.drain_flag import DrainFlag, OperatorAction, operator
from patient_api.audit.trail import AuditTrail
from patient_api.contract.audit import Action, AuditEvent, Outcome

ACTION = OperatorAction(id="o-1", at=datetime(2026, 3, 1, 12, 30, 5, 123000, UTC), by="operator:eve", reason="a drill")
KEY = {"pk": {"S": "$platform#drain"}, "sk": {"S": "us-east-1"}}


class Client:
    def __init__(self, *, error: Exception | None = None, item: bool = False) -> None:
        self.error, self.item = error, item
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def get_item(self, **request: Any) -> Mapping[str, Any]:
        return self._answer("get_item", request)

    def transact_write_items(self, **request: Any) -> Mapping[str, Any]:
        return self._answer("transact_write_items", request)

    def _answer(self, name: str, request: dict[str, Any]) -> Mapping[str, Any]:
        self.calls.append((name, request))
        if self.error:
            raise self.error
        return {"Item": KEY} if self.item else {}


def flag(client: Client) -> DrainFlag:
    return DrainFlag(client=client, records="r", audit="a", drained="us-east-1", surviving="us-west-2")


def cancelled(*codes: str) -> ClientError:
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
        "CancellationReasons": [{"Code": code} for code in codes],
    }
    return ClientError(response, "TransactWriteItems")


@pytest.mark.trap(27)
def test_draining_is_one_transaction_of_two_items() -> None:
    client = Client()
    assert flag(client).set(ACTION)
    ((name, request),) = client.calls
    change, audit = request["TransactItems"]
    assert name == "transact_write_items"
    assert change["Put"] == {
        "TableName": "r",
        "Item": {**KEY, "at": {"N": "1772368205123"}, "by": {"S": "operator:eve"}, "reason": {"S": "a drill"}},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    assert audit["Put"]["TableName"] == "a"


def test_restore_deletes_only_an_existing_flag() -> None:
    client = Client()
    assert flag(client).clear(ACTION)
    change, audit = client.calls[0][1]["TransactItems"]
    assert change == {"Delete": {"TableName": "r", "Key": KEY, "ConditionExpression": "attribute_exists(pk)"}}
    assert audit["Put"]["Item"]["action"] == {"S": "D"}


def test_audit_item_is_that_of_the_api_with_a_reason() -> None:
    client = Client()
    flag(client).set(ACTION)
    event = AuditEvent(
        id="o-1", at=ACTION.at, tenant="$platform", subject="operator:eve", action=Action.CREATE, interaction="create",
        record="Region/us-east-1", outcome=Outcome.SUCCESS, status=201, region="us-west-2", source_ip="",
        request_id="o-1",
    )  # fmt: skip
    trail = AuditTrail(client=cast(Any, client), table="a")
    expected = trail.put_request(event)
    expected["Item"]["reason"] = {"S": "a drill"}
    assert client.calls[0][1]["TransactItems"][1]["Put"] == expected


def test_flag_that_is_already_so_changes_nothing() -> None:
    client = Client(error=cancelled("ConditionalCheckFailed", "None"))
    assert not flag(client).set(ACTION)
    assert not flag(client).clear(ACTION)


@pytest.mark.parametrize(
    "error",
    [cancelled("None", "ConditionalCheckFailed"), EndpointConnectionError(endpoint_url="https://x")],
)
def test_other_failures_are_one_line_errors(error: Exception) -> None:
    with pytest.raises(DeploymentError, match=r"^cannot write the drain flag of us-east-1 in us-west-2: [^\n]+$"):
        flag(Client(error=error)).set(ACTION)


def test_flag_is_read_consistently() -> None:
    client = Client(item=True)
    assert flag(client).is_set()
    assert client.calls == [("get_item", {"TableName": "r", "Key": KEY, "ConsistentRead": True})]
    assert not flag(Client()).is_set()


def test_flag_of_a_region_is_refused_in_the_region_itself() -> None:
    with pytest.raises(ValueError, match="the other region"):
        DrainFlag(client=Client(), records="r", audit="a", drained="us-east-1", surviving="us-east-1")


def test_operator_is_read_from_the_environment() -> None:
    environment = {"USER": "eve", "HOSTNAME": "desk"}
    assert operator(environment) == "operator:eve@desk"
    assert operator({**environment, "AWS_PROFILE": "ops"}) == "operator:ops"
    assert operator(environment, stated="mallory") == "operator:mallory"
