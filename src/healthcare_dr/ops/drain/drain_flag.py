"""The drain flag of a region, an item in the other region. It is written with an audit item in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from healthcare_dr.errors import DeploymentError
from patient_api.contract.audit import Action, AuditEvent, Outcome, item_of
from patient_api.contract.keys import DRAIN_PARTITION, PLATFORM, key

_FLAG_FAILED: Final = ["ConditionalCheckFailed", "None"]


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
    """The flag of `drained` in the tables of `surviving`; `client` is a DynamoDB client of `surviving`."""

    def __init__(self, *, client: Any, records: str, audit: str, drained: str, surviving: str) -> None:
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

    def set(self, action: OperatorAction) -> bool:
        """Set the flag; False, and nothing written, when it is set already. Raises DeploymentError."""
        at = {"N": str(round(action.at.timestamp() * 1000))}
        put = {
            "TableName": self._records,
            "Item": {**self._key(), "at": at, "by": {"S": action.by}, "reason": {"S": action.reason}},
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        return self._write({"Put": put}, action, kind=Action.CREATE, interaction="create", status=201)

    def clear(self, action: OperatorAction) -> bool:
        """Delete the flag; False, and nothing written, when there is none. Raises DeploymentError."""
        delete = {"TableName": self._records, "Key": self._key(), "ConditionExpression": "attribute_exists(pk)"}
        return self._write({"Delete": delete}, action, kind=Action.DELETE, interaction="delete", status=204)

    def _write(
        self, change: dict[str, Any], action: OperatorAction, *, kind: Action, interaction: str, status: int
    ) -> bool:
        audit = {
            "TableName": self._audit,
            "Item": self._audit_item(action, kind=kind, interaction=interaction, status=status),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        try:
            self._client.transact_write_items(TransactItems=[change, {"Put": audit}], ClientRequestToken=action.id)
        except ClientError as error:
            reasons = error.response.get("CancellationReasons", [])
            if [reason.get("Code") for reason in reasons] == _FLAG_FAILED:
                return False
            raise self._failure("write", error) from error
        except BotoCoreError as error:
            raise self._failure("write", error) from error
        return True

    def _audit_item(
        self, action: OperatorAction, *, kind: Action, interaction: str, status: int
    ) -> dict[str, dict[str, str]]:
        return item_of(
            AuditEvent(
                id=action.id,
                at=action.at.astimezone(UTC),
                tenant=PLATFORM,
                subject=action.by,
                action=kind,
                interaction=interaction,
                record=f"Region/{self._drained}",
                outcome=Outcome.SUCCESS,
                status=status,
                region=self._surviving,
                source_ip="",
                request_id=action.id,
                reason=action.reason,
            )
        )

    def _key(self) -> dict[str, dict[str, str]]:
        return key(DRAIN_PARTITION, self._drained)

    def _failure(self, verb: str, error: Exception) -> DeploymentError:
        text = " ".join(str(error).split())
        return DeploymentError(f"cannot {verb} the drain flag of {self._drained} in {self._surviving}: {text}")
