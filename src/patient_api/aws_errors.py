"""AWS's errors in the API's own words."""

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
    """Turns what boto3 raises into StorageFault; only codes get through, since AWS's messages may quote data."""
    try:
        yield
    except ClientError as error:
        raise fault_of(error, operation) from error
    except BotoCoreError as error:
        raise StorageFault(operation=operation, code=type(error).__name__) from error


def fault_of(error: ClientError, operation: str) -> StorageFault:
    """The fault behind a service's refusal. DynamoDB and S3 name the key's trouble in the message alone."""
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "Unknown")), str(details.get("Message", ""))
    return StorageFault(
        operation=operation,
        code=code,
        throttled=code in THROTTLES,
        of_key="kms" in f"{code} {message}".lower(),
    )
