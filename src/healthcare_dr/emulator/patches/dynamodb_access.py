"""DynamoDB: what policies see of a request."""

from typing import Any

from ministack.core import iam_actions
from ministack.services import dynamodb

from healthcare_dr.emulator.patches.request_bodies import bodies

CONDITION_KEY = "dynamodb:LeadingKeys"


def tell_policies_the_leading_keys() -> None:
    """Policies could not see which partition a request for one item names, so permission for certain items gave access
    to all.
    """
    inner = iam_actions.dynamodb_service_context

    def context(body: bytes) -> dict[str, Any]:
        keys: dict[str, Any] = inner(body)
        leading = _leading_key(body)
        return keys if leading is None else {**keys, CONDITION_KEY: [leading]}

    iam_actions.dynamodb_service_context = context


def _leading_key(body: bytes) -> str | None:
    """The partition key's value in the item or key of a request; None of a request for no or several items."""
    try:
        request = bodies.loads(body or b"{}")
        table = dynamodb._tables.get(str(request["TableName"]).rpartition("/")[2])
        named = request.get("Key") or request["Item"]
        (value,) = named[table["pk_name"]].values()
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return str(value)
