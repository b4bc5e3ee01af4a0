"""DynamoDB: restoring a table to a point in time."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import dynamodb

from healthcare_dr.emulator.patches import history

Item = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

_MILLISECONDS: Final = slice(0, 20)  # of a stream record's sequence number: when the change was made
_STARTED: Final = time.time()  # what was changed before is not in any stream


def restore_what_was_there_then() -> None:
    """A table restored to a point in time contained its present items, under a key of AWS's own; and a table without
    point-in-time recovery was restored too.
    """
    inner = dynamodb._restore_table_to_point_in_time

    def restore(data: Item) -> Response:
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
        answer: Response = dynamodb.json_response(
            {"TableDescription": dynamodb._table_description(data["TargetTableName"])}
        )
        return answer

    dynamodb._restore_table_to_point_in_time = restore


def tell_how_far_back_a_table_can_be_restored() -> None:
    """A table reported the present second as its only restorable time."""
    inner = dynamodb._describe_continuous_backups

    def describe(data: Item) -> Response:
        status, headers, body = inner(data)
        told = json.loads(body)
        recovery = told.get("ContinuousBackupsDescription", {}).get("PointInTimeRecoveryDescription", {})
        if "EarliestRestorableDateTime" not in recovery:
            return status, headers, body
        recovery["EarliestRestorableDateTime"] = _earliest(dynamodb._normalize_table_name(data["TableName"]))
        described: Response = dynamodb.json_response(told)
        return described

    dynamodb._describe_continuous_backups = describe


def _earliest(table: str) -> float:
    """Return the earliest restorable time, in whole seconds, rounded up.

    The former images of items are in the table's stream, for as long as `history` keeps its records.
    """
    found = dynamodb._tables[table]
    known = max(_STARTED, float(found.get("CreationDateTime", 0)), time.time() - dynamodb._STREAM_RETENTION_SECONDS)
    # What was dropped cannot be undone.
    known = max(known, history.dropped_until.get((get_account_id(), get_region(), table), 0.0))
    return float(int(known) + 1)


def _made(change: Mapping[str, Any]) -> int:
    """Milliseconds since the epoch."""
    return int(change["dynamodb"]["SequenceNumber"][_MILLISECONDS])


def _undo(table: Item, changes: Iterable[Mapping[str, Any]]) -> None:
    """Take back changes, of which the latest comes first."""
    items = table["items"]
    for change in changes:
        pk, sk = (dynamodb._extract_key_val(change["Keys"][table[name]]) for name in ("pk_name", "sk_name"))
        if "OldImage" in change:
            items[pk][sk] = dict(change["OldImage"])
        else:
            items[pk].pop(sk, None)
    table["items"] = defaultdict(dict, {pk: held for pk, held in items.items() if held})


def _refused(code: str, message: str) -> Response:
    answer: Response = error_response_json(code, message, 400)
    return answer
