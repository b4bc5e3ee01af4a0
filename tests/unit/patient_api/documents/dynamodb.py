"""DynamoDB in memory, as the functions that deal with documents use it."""

from typing import Any

from botocore.exceptions import ClientError

from unit.patient_api import fakes
from unit.patient_api.fakes import AUDIT, RECORDS

__all__ = ["AUDIT", "RECORDS", "FakeDynamoDB", "refused"]

PAGE = 2


def refused(code: str, status: int = 400) -> ClientError:
    """What botocore raises for a service's refusal."""
    return ClientError({"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}, "Any")


class FakeDynamoDB(fakes.FakeDynamoDB):
    """A fake that returns an index in pages of two items."""

    def query(self, **request: Any) -> dict[str, Any]:
        if "IndexName" in request:
            request["Limit"] = min(PAGE, request["Limit"])
        return super().query(**request)
