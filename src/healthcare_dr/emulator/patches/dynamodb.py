"""Patch DynamoDB: global tables, condition keys, consumed capacity, restores and streams; caches of expressions and
values.
"""

import copy
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

from ministack.core import iam_actions
from ministack.core.responses import AccountRegionScopedDict, error_response_json, get_account_id, get_region
from ministack.services import dynamodb, lambda_svc

from healthcare_dr.emulator.patches import history
from healthcare_dr.emulator.patches.replacement import Operation, Response, replaces

CONDITION_KEY = "dynamodb:LeadingKeys"
Item = dict[str, Any]
READ_UNIT_BYTES = 4096
# The number of bytes that the Query or Scan of the present request has read.
_page_bytes: ContextVar[int | None] = ContextVar("page_bytes", default=None)
_MILLISECONDS: Final = slice(0, 20)  # of a stream record's sequence number: the time of the change
_STARTED: Final = time.time()  # streams do not contain earlier changes
State = dict[str, Any]
UNREAD = "unread_stream_records"
# Clients send few different expressions: the differences between requests are in the values.
EXPRESSIONS = 1024
LONGEST = 1024  # in characters or tokens; limits the size of the caches
# Values that repeat, such as a tenant or an outcome, are short; most others occur once.
LONGEST_SHARED = 64
MOST_SHARED = 10_000
WARM = "WarmThroughput"
WARM_UNTIL = "WarmThroughputUpdatingUntil"
INITIAL_WARM: Final = {"ReadUnitsPerSecond": 12_000, "WriteUnitsPerSecond": 4_000}
UPDATE_SECONDS: Final = 0.3
Token = tuple[str, str]
_ATOMS = frozenset({str, bytes, int, float, bool, type(None)})


def report_replica_keys() -> None:
    """A replica reported the primary's KMS key instead of its own, and the primary did not report the keys of replicas:
    the replica differed in every plan.
    """
    update_inner, describe_inner = dynamodb._apply_replica_updates, dynamodb._table_description

    def update(name: str, table: dict[str, Any], updates: list[dict[str, Any]]) -> Any:
        error = update_inner(name, table, updates)
        if not error:
            for change in (change for entry in updates for change in (entry.get("Create"), entry.get("Update"))):
                if change and (key := change.get("KMSMasterKeyId")):
                    replica = dynamodb._tables.get_scoped(get_account_id(), change["RegionName"], name)
                    replica["SSEDescription"] = {"Status": "ENABLED", "SSEType": "KMS", "KMSMasterKeyArn": key}
        return error

    def describe(name: str) -> dict[str, Any]:
        description: dict[str, Any] = describe_inner(name)
        for replica in description.get("Replicas", []):
            table = dynamodb._tables.get_scoped(get_account_id(), replica["RegionName"], name) or {}
            if encryption := table.get("SSEDescription"):
                replica["KMSMasterKeyId"] = encryption["KMSMasterKeyArn"]
        return description

    dynamodb._apply_replica_updates = update
    dynamodb._table_description = describe


def report_warm_throughput() -> None:
    """Tables reported no warm throughput, and indexes and replicas lacked it; UpdateTable accepted every value and kept
    none. On AWS an update takes time, raises all replicas, never lowers a value, and stays within a quota.
    """
    update_inner: Operation = dynamodb._update_table
    json_response: Operation = dynamodb.json_response
    describe_inner = dynamodb._table_description

    def update(data: Item) -> Response:
        name = dynamodb._normalize_table_name(data.get("TableName"))
        changes = _warm_changes(data)
        if not changes or name not in dynamodb._tables:
            return update_inner(data)
        if _warm_status(dynamodb._tables[name]) == "UPDATING":
            return _refused("ResourceInUseException", f"Attempt to change a resource which is still in use: {name}")
        for part, units in changes.items():
            if refusal := _invalid_warm(_warm_part(dynamodb._tables[name], part), units, part):
                return refusal
        response = update_inner(data)
        if response[0] != 200:
            return response
        for region in {get_region(), *dynamodb._replica_group(dynamodb._tables[name])}:
            table = dynamodb._tables.get_scoped(get_account_id(), region, name)
            table[WARM_UNTIL] = time.time() + UPDATE_SECONDS
            for part, units in changes.items():
                if (found := _warm_part(table, part)) is not None:
                    present = _warm_of(found)
                    found[WARM] = {unit: max(present[unit], units.get(unit, 0)) for unit in INITIAL_WARM}
        return json_response({"TableDescription": dynamodb._table_description(name)})

    def describe(name: str) -> Item:
        description: Item = describe_inner(name)
        table = dynamodb._tables[name]
        status = _warm_status(table)
        if status == "UPDATING":
            description["TableStatus"] = status
        description[WARM] = {**_warm_of(table), "Status": status}
        if "GlobalSecondaryIndexes" in description:
            description["GlobalSecondaryIndexes"] = [
                {**index, WARM: {**_warm_of(index), "Status": status}} for index in table["GlobalSecondaryIndexes"]
            ]
        for replica in description.get("Replicas", []):
            held = dynamodb._tables.get_scoped(get_account_id(), replica["RegionName"], name) or {}
            replica[WARM] = {**_warm_of(held), "Status": status}
            replica["GlobalSecondaryIndexes"] = [
                {"IndexName": index["IndexName"], WARM: {**_warm_of(index), "Status": status}}
                for index in held.get("GlobalSecondaryIndexes", [])
            ]
        return description

    dynamodb._update_table = update
    dynamodb._table_description = describe


def _warm_changes(data: Item) -> dict[str | None, dict[str, int]]:
    """Return the values that an UpdateTable request sets, by index; None is the table itself."""
    changes: dict[str | None, dict[str, int]] = {None: data[WARM]} if data.get(WARM) else {}
    for change in data.get("GlobalSecondaryIndexUpdates") or []:
        if (updated := change.get("Update")) and updated.get(WARM):
            changes[updated["IndexName"]] = updated[WARM]
    return changes


def _warm_part(table: Item, index: str | None) -> Item | None:
    if index is None:
        return table
    return next((found for found in table.get("GlobalSecondaryIndexes", []) if found["IndexName"] == index), None)


def _warm_of(part: Item) -> dict[str, int]:
    return {unit: int((part.get(WARM) or {}).get(unit, value)) for unit, value in INITIAL_WARM.items()}


def _warm_status(table: Item) -> str:
    return "UPDATING" if time.time() < table.get(WARM_UNTIL, 0) else "ACTIVE"


def _invalid_warm(part: Item | None, units: Mapping[str, int], index: str | None) -> Response | None:
    """Return the refusal of a lower value, or of one beyond the quota; ministack refuses an unknown index itself."""
    if part is None:
        return None
    limits = json.loads(dynamodb._describe_limits({})[2])
    what = "table" if index is None else f"index {index}"
    for unit, least in _warm_of(part).items():
        if units.get(unit, least) < least:
            return _refused(
                "ValidationException",
                f"One or more parameter values were invalid: Requested {unit} for WarmThroughput for {what} is lower "
                "than current WarmThroughput, decreasing WarmThroughput is not supported",
            )
        if units.get(unit, 0) > limits[f"TableMax{unit.removesuffix('UnitsPerSecond')}CapacityUnits"]:
            return _refused("LimitExceededException", f"Requested {unit} for {what} exceeds the table-level quota")
    return None


@replaces(iam_actions, "dynamodb_service_context")
def expose_leading_keys(inner: Callable[[bytes], dict[str, Any]], body: bytes) -> dict[str, Any]:
    """Policies could not see which partition a request for one item names, so permission for certain items gave access
    to all.
    """
    leading = _leading_key(body)
    return inner(body) if leading is None else {**inner(body), CONDITION_KEY: [leading]}


def _leading_key(body: bytes) -> str | None:
    """Return the partition key's value in the item or key of a request; None for a request for no item or several."""
    try:
        request = json.loads(body or b"{}")
        table = dynamodb._tables.get(str(request["TableName"]).rpartition("/")[2])
        named = request.get("Key") or request["Item"]
        (value,) = named[table["pk_name"]].values()
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    return str(value)


def charge_reads_by_size() -> None:
    """Every read cost half a unit, or one when it was consistent, of any size."""
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


@replaces(dynamodb, "_batch_get_item")
def report_batch_read_capacity(inner: Operation, data: Item) -> Response:
    """BatchGetItem did not return its consumed capacity."""
    status, headers, body = inner(data)
    level = data.get("ReturnConsumedCapacity", "NONE")
    if status != 200 or level == "NONE":
        return status, headers, body
    costs = []
    for name, request in data["RequestItems"].items():
        table = dynamodb._tables[dynamodb._normalize_table_name(name)]
        # Each item is rounded up separately.
        blocks = sum(
            _blocks(dynamodb._item_size_bytes(item) if item else 0)
            for item in (dynamodb._get_item_by_key(table, key) for key in request["Keys"])
        )
        units = blocks * (1.0 if request.get("ConsistentRead") else 0.5)
        costs.append({"TableName": name, "CapacityUnits": units})
        if level == "INDEXES":
            costs[-1]["Table"] = {"CapacityUnits": units}
    response: Response = dynamodb.json_response({**json.loads(body), "ConsumedCapacity": costs})
    return response


def _blocks(size: int) -> int:
    return max(1, -(-size // READ_UNIT_BYTES))


def _multiply(capacity: Any, factor: int) -> None:
    for name, value in capacity.items():
        if name == "CapacityUnits":
            capacity[name] = value * factor
        elif isinstance(value, dict):
            _multiply(value, factor)


@replaces(dynamodb, "_restore_table_to_point_in_time")
def restore_to_point_in_time(inner: Operation, data: Item) -> Response:
    """A table restored to a point in time contained its present items, under a key of AWS's own; and a table without
    point-in-time recovery was restored too.
    """
    source = data.get("SourceTableName") or dynamodb._normalize_table_name(data.get("SourceTableArn") or "")
    moment = data.get("RestoreDateTime")
    if source in dynamodb._tables:
        if not dynamodb._pitr_settings.get(source, False):
            return _refused(
                "PointInTimeRecoveryUnavailableException", f"Point in time recovery is not enabled for {source}"
            )
        if moment is not None and not _earliest(source) <= moment <= time.time():
            return _refused(
                "InvalidRestoreTimeException", "The restore time is outside of what the table can be restored to"
            )
    status, headers, body = inner(data)
    if status != 200:
        return status, headers, body
    restored = dynamodb._tables[data["TargetTableName"]]
    chosen = dynamodb._sse_description_from_spec(data.get("SSESpecificationOverride"))
    restored["SSEDescription"] = chosen or dynamodb._tables[source].get("SSEDescription")
    if moment is not None:
        changes = dynamodb.stream_live_records(source)
        _undo(restored, (change["dynamodb"] for change in reversed(changes) if _made(change) > moment * 1000))
        dynamodb._items_replaced(restored)
    description = dynamodb._table_description(data["TargetTableName"])
    response: Response = dynamodb.json_response({"TableDescription": description})
    return response


@replaces(dynamodb, "_describe_continuous_backups")
def report_earliest_restorable_time(inner: Operation, data: Item) -> Response:
    """A table reported the present second as its earliest restorable time."""
    status, headers, body = inner(data)
    description = json.loads(body)
    recovery = description.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
    if "EarliestRestorableDateTime" not in recovery:
        return status, headers, body
    recovery["EarliestRestorableDateTime"] = _earliest(dynamodb._normalize_table_name(data["TableName"]))
    response: Response = dynamodb.json_response(description)
    return response


def _earliest(table: str) -> float:
    """Return the earliest restorable time, in whole seconds, rounded up.

    Earlier states are reconstructed from the table's stream, for as long as `history` keeps its records.
    """
    found = dynamodb._tables[table]
    earliest = max(_STARTED, float(found.get("CreationDateTime", 0)), time.time() - dynamodb._STREAM_RETENTION_SECONDS)
    earliest = max(earliest, history.dropped_until.get((get_account_id(), get_region(), table), 0.0))
    return float(int(earliest) + 1)


def _made(change: Mapping[str, Any]) -> int:
    """Return the time of a change in milliseconds since the epoch."""
    return int(change["dynamodb"]["SequenceNumber"][_MILLISECONDS])


def _undo(table: Item, changes: Iterable[Mapping[str, Any]]) -> None:
    """Undo changes, the latest of which comes first."""
    items = table["items"]
    for change in changes:
        pk, sk = (dynamodb._extract_key_val(change["Keys"][table[name]]) for name in ("pk_name", "sk_name"))
        if "OldImage" in change:
            items[pk][sk] = dict(change["OldImage"])
        else:
            items[pk].pop(sk, None)
    table["items"] = defaultdict(dict, {pk: held for pk, held in items.items() if held})


def _refused(code: str, message: str) -> Response:
    response: Response = error_response_json(code, message, 400)
    return response


def keep_unread_stream_records() -> None:
    """A stop lost the stream records but not the positions of mappings, so that functions missed the records before it,
    and after it as many records as they had read before.
    """
    get_inner, load_inner = dynamodb.get_state, dynamodb.load_persisted_state

    def get_state() -> State:
        return {**get_inner(), UNREAD: _unread()}

    def load(data: State) -> None:
        load_inner(data)
        for (account, region, table), kept in data.get(UNREAD, AccountRegionScopedDict()).all_items():
            dynamodb._stream_trimmed.set_scoped(account, region, table, kept["position"])
            dynamodb._stream_records.set_scoped(account, region, table, kept["records"])

    dynamodb.get_state = get_state
    dynamodb.load_persisted_state = load


def _unread() -> AccountRegionScopedDict:
    """Return, by table, the position up to which all mappings have read, and the records from there on."""
    unread = AccountRegionScopedDict()
    for (account, region, name), position in lambda_svc._dynamodb_stream_positions.all_items():
        source = (lambda_svc._esms.get_scoped(account, region, name) or {}).get("EventSourceArn", "")
        table = source.partition(":table/")[2].partition("/")[0]
        kept = unread.get_scoped(account, region, table)
        if table and (kept is None or position < kept["position"]):
            trimmed = dynamodb._stream_trimmed.get_scoped(account, region, table, 0)
            records = dynamodb._stream_records.get_scoped(account, region, table) or []
            start = max(position, trimmed)
            unread.set_scoped(account, region, table, {"position": start, "records": records[start - trimmed :]})
    return unread


def cache_parsed_expressions() -> None:
    """Cache parsed expressions: ministack parses and validates them for every request, and for every item that a query
    reads.
    """
    for name in (
        "_tokenize",
        "_condition_syntax_error",
        "_check_redundant_parens",
        "_check_reserved_keyword_usage",
        "_validate_projection_expression_syntax",
    ):
        setattr(dynamodb, name, _cached(getattr(dynamodb, name)))


def _cached(inner: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with a cache, whose first argument is an expression or the list of its tokens."""
    cached = lru_cache(EXPRESSIONS)(
        lambda expression, *rest: inner(list(expression) if isinstance(expression, tuple) else expression, *rest)
    )

    def call(expression: str | list[Token], *rest: Any) -> Any:
        if len(expression) > LONGEST:
            return inner(expression, *rest)
        result = cached(tuple(expression) if isinstance(expression, list) else expression, *rest)
        # A copy for each caller, which may change it.
        return list(result) if isinstance(result, list) else result

    return call


def copied(value: Any) -> Any:
    """Return a deep copy, about ten times as fast as `copy.deepcopy` for the types of JSON."""
    kind = type(value)
    if kind is dict:
        if len(value) == 1 and type(value.get("S")) is str:
            return value  # shared by `SharedStrings`, and never altered
        return {key: copied(member) for key, member in value.items()}
    if kind is list:
        return [copied(member) for member in value]
    if kind in _ATOMS:
        return value
    return copy.deepcopy(value)


class _Copy:
    """Replaces the module `copy` in ministack's DynamoDB."""

    deepcopy: Callable[[Any], Any] = staticmethod(copied)
    copy = staticmethod(copy.copy)


def copy_items_without_memo() -> None:
    """Copy items without the memo of `copy.deepcopy`, which only objects with shared parts need."""
    dynamodb.copy = _Copy


class SharedStrings:
    """Replaces the module `json` in ministack's DynamoDB: equal short strings of all items are one object.

    ministack replaces items when they change and never alters them; of an attribute's value, it alters only numbers.
    """

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(json, name)

    def loads(self, text: str | bytes) -> Any:
        """Parse like `json.loads`."""
        return json.loads(text, object_pairs_hook=self._shared)

    def _shared(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(pairs) == 1:
            ((name, value),) = pairs
            if name == "S" and type(value) is str and len(value) <= LONGEST_SHARED:
                if (found := self._known.get(value)) is None:
                    if len(self._known) >= MOST_SHARED:
                        self._known.clear()
                    self._known[value] = found = {"S": value}
                return found
        return {sys.intern(name): value for name, value in pairs}


def share_equal_strings() -> None:
    """Keep one object for each attribute name and for equal short values: two thirds of the 5 KB of an audit item are
    in all other items as well.
    """
    dynamodb.json = SharedStrings()
