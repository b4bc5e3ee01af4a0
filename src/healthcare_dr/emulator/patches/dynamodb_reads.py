"""DynamoDB: what reads cost."""

import json
from contextvars import ContextVar
from typing import Any

from ministack.services import dynamodb

Item = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

READ_UNIT_BYTES = 4096
# The bytes that the Query or Scan of this request has read.
_page_bytes: ContextVar[int | None] = ContextVar("page_bytes", default=None)


def count_what_a_read_reads() -> None:
    """Every read cost half a unit, or one when it was consistent, however much it read."""
    paginate_inner, cost_inner = dynamodb._paginate_evaluated_items, dynamodb._add_consumed_capacity

    def paginate(items: list[Item], limit: int | None, table: Item, index: str | None = None) -> Any:
        page, more = paginate_inner(items, limit, table, index)
        entries = (dynamodb._apply_index_projection(item, table, index) if index else item for item in page)
        _page_bytes.set(sum(dynamodb._item_size_bytes(entry) for entry in entries))
        return page, more

    def cost(result: Item, data: Item, table_name: str, write: bool = False, **rest: Any) -> None:
        cost_inner(result, data, table_name, write=write, **rest)
        if write or "ConsumedCapacity" not in result:
            return
        if "Key" in data:
            item = dynamodb._get_item_by_key(dynamodb._tables[table_name], data["Key"])
            size = dynamodb._item_size_bytes(item) if item else 0
        else:
            size = _page_bytes.get() or 0
        _multiply(result["ConsumedCapacity"], _blocks(size))

    dynamodb._paginate_evaluated_items = paginate
    dynamodb._add_consumed_capacity = cost


def tell_what_a_batch_read_costs() -> None:
    """BatchGetItem did not return its consumed capacity."""
    inner = dynamodb._batch_get_item

    def batch_get(data: Item) -> Response:
        status, headers, body = inner(data)
        asked = data.get("ReturnConsumedCapacity", "NONE")
        if status != 200 or asked == "NONE":
            return status, headers, body
        costs = []
        for name, request in data["RequestItems"].items():
            table = dynamodb._tables[dynamodb._normalize_table_name(name)]
            # Each item is rounded up by itself.
            blocks = sum(
                _blocks(dynamodb._item_size_bytes(item) if item else 0)
                for item in (dynamodb._get_item_by_key(table, key) for key in request["Keys"])
            )
            units = blocks * (1.0 if request.get("ConsistentRead") else 0.5)
            costs.append({"TableName": name, "CapacityUnits": units})
            if asked == "INDEXES":
                costs[-1]["Table"] = {"CapacityUnits": units}
        answer = {**json.loads(body), "ConsumedCapacity": costs}
        told: Response = dynamodb.json_response(answer)
        return told

    dynamodb._batch_get_item = batch_get


def _blocks(size: int) -> int:
    return max(1, -(-size // READ_UNIT_BYTES))


def _multiply(capacity: Any, factor: int) -> None:
    for name, value in capacity.items():
        if name == "CapacityUnits":
            capacity[name] = value * factor
        elif isinstance(value, dict):
            _multiply(value, factor)
