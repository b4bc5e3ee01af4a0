"""DynamoDB Streams over a stop and a start."""

from typing import Any

from ministack.core.responses import AccountRegionScopedDict
from ministack.services import dynamodb, lambda_svc

State = dict[str, Any]

UNREAD = "unread_stream_records"


def keep_what_no_mapping_has_read() -> None:
    """A stop lost every stream record but not how far mappings had read, so that functions missed what was written
    before it, and as many records after it as they had read before."""
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
    """By table: how far all mappings of its stream have read, and the records from there on."""
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
