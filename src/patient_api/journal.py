"""Log lines and metrics. Patient data has no way in: every field is a code, a count or a name of ours.

Metrics go out as log lines in CloudWatch's embedded metric format, under the dimension `service`.
"""

import logging
import traceback
from threading import Lock
from typing import Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from patient_api.errors import ClockAhead, StorageFault
from patient_api.health import Verdict
from patient_api.request import Request

# At the level DEBUG these write paths, requests and answers, so no setting of the function may let them.
_TALKATIVE: Final = ("aws_lambda_powertools", "botocore", "urllib3")


class Journal:
    """Where the function tells its operators what it does. Silences the libraries' own debugging."""

    def __init__(self, *, logger: Logger, metrics: EphemeralMetrics, region: str) -> None:
        self._logger = logger
        self._metrics = metrics
        self._region = region
        self._lock = Lock()
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)

    def call(self, request: Request, *, route: str, status: int, milliseconds: float) -> None:
        """One line per call. `route` is the pattern: what stands in its place may be anything a client types."""
        self._logger.info(
            "call",
            method=request.method,
            route=route,
            status=status,
            ms=round(milliseconds, 1),
            request_id=request.request_id,
            tenant=request.caller.tenant,
            region=self._region,
        )

    def storage_fault(self, request: Request, fault: StorageFault) -> None:
        """A call that failed because AWS did."""
        self._logger.error(
            "storage fault",
            operation=fault.operation,
            code=fault.code,
            request_id=request.request_id,
            region=self._region,
        )
        self._emit({"KeyFailures" if fault.of_key else "StorageFailures": 1})

    def clock_ahead(self, request: Request, error: ClockAhead) -> None:
        """A record's clock that no drift between regions explains."""
        self._logger.error("clock ahead", ahead_ms=error.ahead_ms, request_id=request.request_id, region=self._region)

    def unexpected(self, request: Request, error: Exception) -> None:
        """A defect: where it happened, but no message, value or line of source, which could carry patient data."""
        self._logger.error(
            "unexpected exception",
            exceptions=_chain(error),
            request_id=request.request_id,
            region=self._region,
        )

    def verdict(self, verdict: Verdict) -> None:
        """As `health.Witness`."""
        if not verdict.healthy:
            self._logger.error("unhealthy", failures=dict(verdict.failures), region=self._region)
        counts = {"KeyFailures": verdict.key_failures, "StorageFailures": verdict.storage_failures}
        self._emit({"Healthy": int(verdict.healthy), **{name: n for name, n in counts.items() if n}})

    def _emit(self, values: dict[str, int]) -> None:
        with self._lock:
            for name, value in values.items():
                self._metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
            self._metrics.flush_metrics()


def _chain(error: BaseException) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = [
            f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}"
            for frame, line in traceback.walk_tb(current.__traceback__)
        ]
        found.append({"type": f"{type(current).__module__}.{type(current).__qualname__}", "frames": frames})
        current = current.__cause__ or current.__context__
    return found
