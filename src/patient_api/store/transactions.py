"""Write several items in one DynamoDB transaction, with retries that cannot apply it twice."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from botocore.exceptions import ClientError

from patient_api.aws import THROTTLES, DynamoDB, fault_of, translated
from patient_api.errors import Contention, HeadMismatch, StorageFault

ATTEMPTS: Final = 3
LARGEST_TRANSACTION: Final = 100  # actions of one TransactWriteItems

_CONDITION_FAILED: Final = "ConditionalCheckFailed"


class Transactions:
    """Writes transactions. `pause` waits for some seconds."""

    def __init__(self, *, client: DynamoDB, pause: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._pause = pause

    def write(self, puts: Sequence[Mapping[str, Any]], *, head: int) -> None:
        """Execute all of the puts or none. `head` is the position of the put of the record's head.

        Raises HeadMismatch when the head's condition failed, Contention, StorageFault.
        """
        request = {
            "TransactItems": [{"Put": put} for put in puts],
            # DynamoDB recognizes a retry whose first response was lost, instead of failing its conditions.
            "ClientRequestToken": str(uuid4()),
        }
        for attempt in range(1, ATTEMPTS + 1):
            if self._execute(request, head):
                return
            if attempt < ATTEMPTS:
                self._pause(random.uniform(0.02, 0.08) * attempt)  # noqa: S311 - spreads writers, guards nothing
        raise Contention

    def _execute(self, request: Mapping[str, Any], head: int) -> bool:
        """Return False when the transaction conflicts with another one."""
        with translated("TransactWriteItems"):
            try:
                self._client.transact_write_items(**request)
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "TransactionCanceledException":
                    _check_conflict(error, head)
                elif code != "TransactionConflictException":
                    raise
                return False
        return True


def _check_conflict(error: ClientError, head: int) -> None:
    """Return if the cancellation is due to a conflict with another transaction, and raise for every other reason.

    Reasons have the order of the items, with the code `None` for items that caused no failure
    (https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CancellationReason.html).
    """
    codes = [str(reason.get("Code", "None")) for reason in error.response.get("CancellationReasons", ())]
    if codes[head : head + 1] == [_CONDITION_FAILED]:
        raise HeadMismatch
    causes = [code for code in codes if code != "None"]
    if "TransactionConflict" in causes:
        return
    throttles = [code for code in causes if code in THROTTLES]
    if throttles:
        raise StorageFault(operation="TransactWriteItems", code=throttles[0], throttled=True)
    if causes:
        raise StorageFault(operation="TransactWriteItems", code=causes[0], of_key="KMS" in causes[0])
    raise fault_of(error, "TransactWriteItems")
