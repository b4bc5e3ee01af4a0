"""Write log lines and metrics. They cannot contain patient data: each field is a code, a count or a fixed name.

A line is one JSON object on standard output, which Lambda sends to CloudWatch Logs. Metrics are lines too, in
CloudWatch's embedded metric format, under the dimension `service`
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Lock
from typing import Final, TextIO

from patient_api.contract.metrics import DIMENSION, NAMESPACE

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

# At the level DEBUG these log requests and responses, so their level is fixed.
_LIBRARIES: Final = ("botocore", "urllib3")


class StructuredLog:
    """The log of one function. Disables the debug output of libraries, which contains requests and responses.

    `service` is the function's name. Lines below `level`, one of `LEVELS`, are dropped; metrics never are. `stream`
    defaults to standard output.
    """

    def __init__(
        self,
        *,
        service: str,
        region: str,
        level: str = "INFO",
        stream: TextIO | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._region = region
        self._least = LEVELS.index(level)
        self._stream = stream
        self._now = now
        self._lock = Lock()
        for name in _LIBRARIES:
            logging.getLogger(name).setLevel(logging.WARNING)

    def info(self, message: str, **fields: object) -> None:
        """Log an expected event."""
        self._line("INFO", message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Log an event that needs attention."""
        self._line("ERROR", message, fields)

    def unexpected(self, error: Exception, **fields: object) -> None:
        """Log a defect: types and places, without messages, values and source lines, which may contain patient data."""
        self._line("ERROR", "unexpected exception", {"exceptions": _chain(error), **fields})

    def count(
        self, values: Mapping[str, float], *, unit: str = "Count", ahead_ms: int | None = None, service: str = ""
    ) -> None:
        """Publish metrics by name, of another function if `service` names it. `unit` is a unit of CloudWatch.

        `ahead_ms` is the known error of the clock: CloudWatch drops values of the next days, and of weeks ago.
        """
        metrics = [{"Name": name, "Unit": unit} for name in values]
        directive = {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": metrics}
        self._write(
            {
                "_aws": {"Timestamp": int(self._now() * 1000) - (ahead_ms or 0), "CloudWatchMetrics": [directive]},
                DIMENSION: service or self._service,
                **{name: [float(value)] for name, value in values.items()},
            }
        )

    def _line(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        if LEVELS.index(level) < self._least:
            return
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = {"level": level, "message": message, "timestamp": at, "service": self._service, "region": self._region}
        self._write({**head, **fields})

    def _write(self, document: Mapping[str, object]) -> None:
        line = json.dumps(document, separators=(",", ":")) + "\n"
        stream = self._stream or sys.stdout
        with self._lock:
            stream.write(line)
            stream.flush()


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
