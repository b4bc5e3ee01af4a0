"""CloudWatch Logs."""

import asyncio
from contextlib import suppress
from typing import Any

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import cloudwatch, cloudwatch_logs

from healthcare_dr.emulator.embedded_metrics import Metric, metrics


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
