"""CloudWatch Logs, and metrics in CloudWatch's embedded metric format
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch, cloudwatch_logs

MARK = '"_aws"'


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric's values in one line; `at` is in seconds since 1970."""

    namespace: str
    name: str
    unit: str
    dimensions: Mapping[str, str]
    values: Sequence[float]
    at: float


def metrics(line: str) -> Iterator[Metric]:
    """The metrics of a line, one for each set of dimensions; none of a line that does not follow the format."""
    if MARK not in line:
        return
    try:
        found = list(_metrics(json.loads(line)))
    except (AttributeError, KeyError, TypeError, ValueError):
        return
    yield from found


def _metrics(document: Mapping[str, Any]) -> Iterator[Metric]:
    at = document["_aws"]["Timestamp"] / 1000
    for directive in document["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = {name: document[name] for name in names}
            if not all(isinstance(value, str) for value in dimensions.values()):
                raise TypeError
            for metric in directive["Metrics"]:
                value = document[metric["Name"]]
                yield Metric(
                    namespace=directive["Namespace"],
                    name=metric["Name"],
                    unit=metric.get("Unit", "None"),
                    dimensions=dimensions,
                    values=tuple(map(float, value if isinstance(value, list) else [value])),
                    at=at,
                )


def take_metrics_out_of_logs() -> None:
    """Lines in the embedded metric format stayed lines: no metric that a function reports reached an alarm."""
    inner = cloudwatch_logs._append_log_events
    loop = asyncio.get_running_loop()

    def append(stream: dict[str, Any], events: list[dict[str, Any]]) -> None:
        inner(stream, events)
        found = [metric for event in events for metric in metrics(event["message"])]
        if found:
            # Functions log from threads of their own, and what is stored is read on the loop.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(_store, get_account_id(), get_region(), found)

    cloudwatch_logs._append_log_events = append


def _store(account: str, region: str, found: list[Metric]) -> None:
    with request_scope(account, region):
        for metric in found:
            cloudwatch._store_datum(
                metric.namespace,
                metric.name,
                dict(metric.dimensions),
                metric.at,
                metric.unit,
                None,
                list(metric.values),
                None,
                None,
            )
