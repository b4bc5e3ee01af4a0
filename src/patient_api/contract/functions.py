"""The functions of a region: names, entry points, sizes and environment variables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """The name, entry point, size and environment of one function.

    Attributes:
        name: the name without the platform's prefix; also the dimension `service` of the function's metrics.
        published: whether callers use an alias of a published version.
        variables: fields of `Environment` that this function has beside the common ones.
    """

    name: str
    handler: str
    description: str
    memory_mb: int
    timeout_seconds: int
    published: bool = False
    variables: tuple[str, ...] = ()

    @property
    def identifier(self) -> str:
        """The Terraform identifier of the function."""
        return self.name.replace("-", "_")


API: Final = FunctionSpec(
    name="patient-api",
    handler="patient_api.handlers.api.handler",
    description="FHIR API over patient records",
    memory_mb=3072,
    timeout_seconds=30,
    published=True,
    variables=("tenant_claim", "issuer", "cors", "clock_bound"),
)
CONFIRM_DOCUMENTS: Final = FunctionSpec(
    name="document-confirmation",
    handler="patient_api.handlers.confirm_documents.handler",
    description="Confirms documents that both regions hold, and copies those that replicate late",
    # 1769 MB come with one whole vCPU, and documents of up to 5 GB are hashed.
    memory_mb=1769,
    timeout_seconds=900,
    variables=("clock_bound",),
)
RECONCILE: Final = FunctionSpec(
    name="reconciliation",
    handler="patient_api.handlers.reconcile.handler",
    description="Updates heads, marks concurrent versions, and reports changed items",
    memory_mb=1024,
    timeout_seconds=60,
)
SENTINEL: Final = FunctionSpec(
    name="sentinel",
    handler="patient_api.handlers.sentinel.handler",
    description="Writes the region's heartbeat, and checks the peer's heartbeat and health",
    memory_mb=512,
    # Three probes of six seconds each, and the retries of the table.
    timeout_seconds=45,
    variables=("endpoint",),
)
RELAY: Final = FunctionSpec(
    name="notification-relay",
    handler="patient_api.handlers.relay_notifications.handler",
    description="Posts the notifications of the region's topic to webhooks",
    memory_mb=512,
    # Two attempts, all webhooks at the same time, and the parameter. An attempt takes seven seconds; a host with
    # several addresses that do not respond takes three seconds for each of them.
    timeout_seconds=90,
    variables=("webhooks",),
)
"""Deployed only if webhooks are configured."""
SENTINEL_INTERVAL_SECONDS: Final = 60
"""How often a schedule invokes the sentinel. The limit of a heartbeat's age depends on it."""
HEALTH_SECONDS: Final = 5.0
"""How long the API's containers reuse a health report."""
CLOCK_BOUND_SECONDS: Final = 5
"""By how much the clock of a function that issues versions may differ from DynamoDB's, unless a setting changes it."""
DRAIN_FLAG_SECONDS: Final = 3.0
"""How long the API's containers reuse a drain flag that they have read."""
FUNCTIONS: Final = (API, CONFIRM_DOCUMENTS, RECONCILE, SENTINEL)
"""The functions of every region."""

API_ALIAS: Final = "live"
"""The alias of the API's published version that API Gateway invokes."""

SWEEP_EVENT: Final = json.dumps({"sweep": True})
"""The scheduled event with which `CONFIRM_DOCUMENTS` confirms documents that no S3 event reported."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """The environment variables of a function.

    Attributes:
        region: set by Lambda itself.
        cors: whether browser applications of other origins may call the API.
        issuer: of the clients' tokens; empty where clients sign with IAM credentials.
        tenant_claim: the claim of a token that names its tenant.
        endpoint: the base address of the region's own API.
        webhooks: the name of the parameter with the addresses of webhooks, one in each line.
        clock_bound: the seconds by which the function's clock may differ from DynamoDB's when it issues a version.

    The last six are None in functions that do not have them.
    """

    region: str
    peer_region: str
    records_table: str
    audit_table: str
    documents_bucket: str
    key_arn: str
    peer_documents_bucket: str
    peer_role_arn: str
    index_key: str
    log_level: str
    cors: bool | None = None
    issuer: str | None = None
    tenant_claim: str | None = None
    endpoint: str | None = None
    webhooks: str | None = None
    clock_bound: int | None = None

    @classmethod
    def of(cls, variables: Mapping[str, str], function: FunctionSpec) -> Self:
        """Return the environment of `function`. Raises KeyError with the name of a variable that is not set."""
        values = {name: variables[VARIABLES[name]] for name in (*COMMON_VARIABLES, *function.variables)}
        cors, bound = values.pop("cors", None), values.pop("clock_bound", None)
        return cls(
            **values,
            cors=None if cors is None else cors == "true",
            clock_bound=None if bound is None else int(bound),
        )

    def variables(self) -> dict[str, str]:
        """Return the variables to set. The region is not among them: Lambda reserves its name."""
        values = {name: getattr(self, name) for name in VARIABLES if name != "region"}
        values["cors"] = None if self.cors is None else str(self.cors).lower()
        return {VARIABLES[name]: str(value) for name, value in values.items() if value is not None}


VARIABLES: Final[Mapping[str, str]] = {
    "region": "AWS_REGION",
    "peer_region": "PEER_REGION",
    "records_table": "RECORDS_TABLE",
    "audit_table": "AUDIT_TABLE",
    "documents_bucket": "DOCUMENTS_BUCKET",
    "key_arn": "KEY_ARN",
    "peer_documents_bucket": "PEER_DOCUMENTS_BUCKET",
    "peer_role_arn": "PEER_ROLE_ARN",
    "index_key": "INDEX_KEY_ALIAS",
    "log_level": "LOG_LEVEL",
    "cors": "CORS",
    "issuer": "OIDC_ISSUER",
    "tenant_claim": "TENANT_CLAIM",
    "endpoint": "ENDPOINT",
    "webhooks": "WEBHOOKS_PARAMETER",
    "clock_bound": "CLOCK_BOUND_SECONDS",
}
"""The environment variable of each field of `Environment`."""
COMMON_VARIABLES: Final = tuple(VARIABLES)[:10]
