"""Transactions that are carried out whole, once, or not at all."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import ClientError

from patient_api.aws import DynamoDB
from patient_api.aws_errors import THROTTLES, fault_of, translated
from patient_api.errors import Contention, HeadMismatch, StorageFault

ATTEMPTS: Final = 3
LARGEST: Final = 100  # actions, DynamoDB's own limit

_CONDITION_FAILED: Final = "ConditionalCheckFailed"


class Transactions:
    """Writes to several items at once. `pause` waits a number of seconds."""

    def __init__(self, *, client: DynamoDB, pause: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._pause = pause

    def write(self, puts: Sequence[Mapping[str, Any]], *, head: int) -> None:
        """Carry out the puts, or none of them. `head` is the position of the put of the record's head.

        Raises HeadMismatch when the head's condition failed, Contention, StorageFault.
        """
        request = {
            "TransactItems": [{"Put": put} for put in puts],
            # A repeated attempt whose first answer got lost is then the same transaction, not a failed condition.
            "ClientRequestToken": str(uuid4()),
        }
        for attempt in range(1, ATTEMPTS + 1):
            if self._carried_out(request, head):
                return
            if attempt < ATTEMPTS:
                self._pause(random.uniform(0.02, 0.08) * attempt)  # noqa: S311 - spreads writers, guards nothing
        raise Contention

    def _carried_out(self, request: Mapping[str, Any], head: int) -> bool:
        """False when another transaction was in the way."""
        with translated("TransactWriteItems"):
            try:
                self._client.transact_write_items(**request)
            except ClientError as error:
                if error.response["Error"]["Code"] == "TransactionCanceledException":
                    return _cancelled(error, head)
                if error.response["Error"]["Code"] == "TransactionConflictException":
                    return False
                raise
        return True


def _cancelled(error: ClientError, head: int) -> bool:
    """False for a conflict with another transaction; raises for every other reason.

    Reasons come in the order of the items, `None` for those that were not at fault
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html).
    """
    codes = [str(reason.get("Code", "None")) for reason in error.response.get("CancellationReasons", ())]
    if codes[head : head + 1] == [_CONDITION_FAILED]:
        raise HeadMismatch
    culprits = [code for code in codes if code != "None"]
    if "TransactionConflict" in culprits:
        return False
    throttles = [code for code in culprits if code in THROTTLES]
    if throttles:
        raise StorageFault(operation="TransactWriteItems", code=throttles[0], throttled=True)
    if culprits:
        raise StorageFault(operation="TransactWriteItems", code=culprits[0], of_key="KMS" in culprits[0])
    raise fault_of(error, "TransactWriteItems")
