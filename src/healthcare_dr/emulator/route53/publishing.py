"""Tells CloudWatch what the health checks found, as Route 53 does: in us-east-1 only."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

Finding = tuple[str, bool, float | None]
"""A check's id, whether it is healthy, and the share of its checkers that find it so (0 to 1; None: it has none)."""

NAMESPACE = "AWS/Route53"
# PutMetricData takes 1,000 values at a time; this keeps well below the size it takes.
PER_CALL = 100

logger = logging.getLogger(__name__)


def publisher(client: Any) -> Callable[[Sequence[Finding]], None]:
    """Publishes findings; a failure is logged, not raised.

    Args:
        client: boto3's for CloudWatch in us-east-1.
    """

    def publish(findings: Sequence[Finding]) -> None:
        data = [datum for finding in findings for datum in _data(finding)]
        try:
            for start in range(0, len(data), PER_CALL):
                client.put_metric_data(Namespace=NAMESPACE, MetricData=data[start : start + PER_CALL])
        except (BotoCoreError, ClientError) as error:
            logger.warning("CloudWatch did not take the metrics of the health checks: %s", type(error).__name__)

    return publish


def _data(finding: Finding) -> list[dict[str, object]]:
    check_id, healthy, share = finding
    dimensions = [{"Name": "HealthCheckId", "Value": check_id}]
    values = [("HealthCheckStatus", float(healthy), "None")]
    if share is not None:
        values.append(("HealthCheckPercentageHealthy", share * 100, "Percent"))
    return [
        {"MetricName": name, "Dimensions": dimensions, "Value": value, "Unit": unit} for name, value, unit in values
    ]
