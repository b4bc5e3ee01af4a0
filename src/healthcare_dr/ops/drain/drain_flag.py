"""The drain flag of a region, kept in the other one with an audit item, both in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError
from patient_api.contract.audit import Action, AuditEvent, Outcome, item_of
from patient_api.contract.keys import DRAIN_PARTITION, PLATFORM, key

_FLAG_FAILED: Final = ["ConditionalCheckFailed", "None"]


class DynamoDB(Protocol):
    """The calls of boto3's client that are used."""

    def get_item(self, **request: Any) -> Mapping[str, Any]:
        """Read one item."""

    def transact_write_items(self, **request: Any) -> Mapping[str, Any]:
        """Write all or nothing."""


@dataclass(frozen=True, kw_only=True)
class OperatorAction:
    """The operator, the time (aware) and the reason of a drain or restore; `id` is unique to it."""

    id: str
    at: datetime
    by: str
    reason: str


def operator(environment: Mapping[str, str], *, stated: str | None = None) -> str:
    """Return `operator:<name>`: the stated name, else the AWS profile, else user@host. Calls no service."""
    user, host = environment.get("USER") or "unknown", environment.get("HOSTNAME") or "unknown"
    return f"operator:{stated or environment.get('AWS_PROFILE') or f'{user}@{host}'}"


class DrainFlag:
    """The flag of `drained`, in the tables of `surviving`; the client must be one of `surviving`."""

    def __init__(self, *, client: DynamoDB, records: str, audit: str, drained: str, surviving: str) -> None:
        if drained == surviving:
            raise ValueError("a region's drain flag is kept in the other region")
        self._client = client
        self._records = records
        self._audit = audit
        self._drained = drained
        self._surviving = surviving

    def is_set(self) -> bool:
        """Return whether the flag is set. Raises DeploymentError."""
        try:
            answer = self._client.get_item(TableName=self._records, Key=self._key(), ConsistentRead=True)
        except (ClientError, BotoCoreError) as error:
            raise self._failure("read", error) from error
        return "Item" in answer

    def set(self, order: OperatorAction) -> bool:
        """Set the flag; False, and nothing written, when it is set already. Raises DeploymentError."""
        at = {"N": str(round(order.at.timestamp() * 1000))}
        put = {
            "TableName": self._records,
            "Item": {**self._key(), "at": at, "by": {"S": order.by}, "reason": {"S": order.reason}},
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        return self._write({"Put": put}, order, action=Action.CREATE, interaction="create", status=201)

    def clear(self, order: OperatorAction) -> bool:
        """Delete the flag; False, and nothing written, when there is none. Raises DeploymentError."""
        delete = {"TableName": self._records, "Key": self._key(), "ConditionExpression": "attribute_exists(pk)"}
        return self._write({"Delete": delete}, order, action=Action.DELETE, interaction="delete", status=204)

    def _write(
        self, change: dict[str, Any], order: OperatorAction, *, action: Action, interaction: str, status: int
    ) -> bool:
        audit = {
            "TableName": self._audit,
            "Item": self._audit_item(order, action=action, interaction=interaction, status=status),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        try:
            self._client.transact_write_items(TransactItems=[change, {"Put": audit}], ClientRequestToken=order.id)
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            if [reason.get("Code") for reason in reasons] == _FLAG_FAILED:
                return False
            raise self._failure("write", error) from error
        except BotoCoreError as error:
            raise self._failure("write", error) from error
        return True

    def _audit_item(
        self, order: OperatorAction, *, action: Action, interaction: str, status: int
    ) -> dict[str, dict[str, str]]:
        return item_of(
            AuditEvent(
                id=order.id,
                at=order.at.astimezone(UTC),
                tenant=PLATFORM,
                subject=order.by,
                action=action,
                interaction=interaction,
                record=f"Region/{self._drained}",
                outcome=Outcome.SUCCESS,
                status=status,
                region=self._surviving,
                source_ip="",
                request_id=order.id,
                reason=order.reason,
            )
        )

    def _key(self) -> dict[str, dict[str, str]]:
        return key(DRAIN_PARTITION, self._drained)

    def _failure(self, verb: str, error: Exception) -> DeploymentError:
        text = " ".join(str(error).split())
        return DeploymentError(f"cannot {verb} the drain flag of {self._drained} in {self._surviving}: {text}")
