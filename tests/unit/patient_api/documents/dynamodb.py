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
    """One that gives an index in pages of two items."""

    def query(self, **request: Any) -> dict[str, Any]:
        if "IndexName" not in request:
            return super().query(**request)
        start = int(request.get("ExclusiveStartKey", {}).get("position", "0"))
        everything = super().query(**{**request, "Limit": None})["Items"]
        more = {"LastEvaluatedKey": {"position": str(start + PAGE)}} if start + PAGE < len(everything) else {}
        return {"Items": everything[start:][: min(PAGE, request["Limit"])], **more}
