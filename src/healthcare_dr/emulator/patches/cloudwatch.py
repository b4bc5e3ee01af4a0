"""CloudWatch."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import cloudwatch

Response = tuple[int, dict[str, str], bytes]

# Members AWS leaves out of the answer when they are unset; ministack keeps them empty.
OMITTED_WHEN_EMPTY = ("AlarmDescription", "ExtendedStatistic", "Statistic", "TreatMissingData", "Unit")


def describe_alarms_in_full() -> None:
    """DescribeAlarms over the Query protocol left out actions, dimensions, period, statistic, missing data and
    more, so that every alarm differed in the next plan and composite alarms were replaced."""
    inner = cloudwatch._describe_alarms

    def describe(params: dict[str, Any], data: dict[str, Any], is_cbor: bool, is_json: bool = False) -> Response:
        if is_cbor or is_json:
            response: Response = inner(params, data, is_cbor, is_json)
            return response
        # The JSON protocol's answer is complete: ask for that one and write it as XML.
        status, headers, body = inner({}, _query_arguments(params), False, True)
        if status != 200:
            return status, headers, body
        result = _xml_members(json.loads(body))
        answer: Response = cloudwatch._xml(
            200, "DescribeAlarmsResponse", f"<DescribeAlarmsResult>{result}</DescribeAlarmsResult>"
        )
        return answer

    cloudwatch._describe_alarms = describe


def _query_arguments(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a Query request in the shape of a JSON request."""
    arguments: dict[str, Any] = {}
    for name in ("AlarmNamePrefix", "StateValue", "NextToken", "MaxRecords"):
        if value := cloudwatch._p(params, name):
            arguments[name] = value
    for name in ("AlarmNames", "AlarmTypes"):
        prefix = f"{name}.member."
        keys = sorted((key for key in params if key.startswith(prefix)), key=lambda key: int(key[len(prefix) :]))
        if keys:
            arguments[name] = [cloudwatch._p(params, key) for key in keys]
    return arguments


def _xml_members(value: Mapping[str, Any]) -> str:
    parts = []
    for name, member in value.items():
        if member is None or (member == "" and name in OMITTED_WHEN_EMPTY):
            continue
        if name == "Statistic" and value.get("ExtendedStatistic"):
            continue
        text = _iso_time(member) if name.endswith("Timestamp") else _xml(member)
        parts.append(f"<{name}>{text}</{name}>")
    return "".join(parts)


def _xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return _xml_members(value)
    if isinstance(value, list):
        return "".join(f"<member>{_xml(item)}</member>" for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))


def _iso_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
