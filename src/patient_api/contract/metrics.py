"""Metrics that the functions publish in CloudWatch's embedded metric format.

Each metric has the dimension `service`, whose value is the name of a function.
"""

from enum import StrEnum
from typing import Final

NAMESPACE: Final = "HealthcareDR"
DIMENSION: Final = "service"


class Metric(StrEnum):
    """Names of the metrics, by the function that publishes them."""

    # patient-api
    HEALTHY = "Healthy"
    KEY_FAILURES = "KeyFailures"
    STORAGE_FAILURES = "StorageFailures"
    # document-confirmation counts these two under patient-api as well
    WRONG_CLOCK = "WrongClock"
    FUTURE_VERSIONS = "FutureVersions"
    # document-confirmation
    DOCUMENTS_CONFIRMED = "DocumentsConfirmed"
    DOCUMENTS_COPIED = "DocumentsCopied"
    DOCUMENTS_QUARANTINED = "DocumentsQuarantined"
    DOCUMENTS_PENDING = "DocumentsPending"
    PENDING_SECONDS = "PendingSeconds"
    # reconciliation
    CONFLICTS = "Conflicts"
    TAMPERED_ITEMS = "TamperedItems"
    # sentinel; ReplicationLag is published under its name by reconciliation, which reads the stream
    PEER_HEALTHY = "PeerHealthy"
    HEARTBEAT_WRITTEN = "HeartbeatWritten"
    HEARTBEAT_AGE = "HeartbeatAge"
    REPLICATION_LAG = "ReplicationLag"
