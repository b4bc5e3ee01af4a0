"""Convert exceptions of botocore into StorageFault."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from patient_api.errors import StorageFault

THROTTLES: Final = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
    }
)


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Raise StorageFault for exceptions of botocore. Only error codes are kept: messages of AWS may quote data."""
    try:
        yield
    except ClientError as error:
        raise fault_of(error, operation) from error
    except BotoCoreError as error:
        raise StorageFault(operation=operation, code=type(error).__name__) from error


def fault_of(error: ClientError, operation: str) -> StorageFault:
    """Return the fault for an error response. DynamoDB and S3 report KMS errors in the message only."""
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "Unknown")), str(details.get("Message", ""))
    return StorageFault(
        operation=operation,
        code=code,
        throttled=code in THROTTLES,
        of_key="kms" in f"{code} {message}".lower(),
    )
