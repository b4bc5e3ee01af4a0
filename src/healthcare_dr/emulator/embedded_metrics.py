"""CloudWatch's embedded metric format: metrics in lines of a log
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MARK = '"_aws"'


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What one line says of one metric; `at` is in seconds since the epoch."""

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
