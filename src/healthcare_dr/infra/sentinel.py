"""The sentinel of a region: every minute it gives a sign of life, and looks for that of the peer.

It is told where its own region's API is. Where the peer's is, it reads in the peer's heartbeat, which replication
brings: so no stack has to know of the other.
"""

from collections.abc import Sequence

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_function import LambdaFunction
from cdktn_provider_aws.lambda_function_event_invoke_config import LambdaFunctionEventInvokeConfig

from healthcare_dr.infra.function import Asset, Shape, lambda_function
from healthcare_dr.infra.schedule import every_minute
from healthcare_dr.infra.site import Site

SENTINEL = Shape(
    name="sentinel",
    handler="patient_api.sentinel.handler",
    description="Writes the region's heartbeat, and looks for the peer's and at its health",
    memory_mb=512,
    # Three attempts of six seconds, and as much for the table; the next round does not wait for this one.
    timeout_seconds=45,
)
INTERVAL_SECONDS = 60


def sentinel(
    stack: TerraformStack,
    site: Site,
    *,
    endpoint: str,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
) -> LambdaFunction:
    """The function and its schedule. `endpoint` is the base address of this region's own API (trap 23)."""
    function = lambda_function(
        stack, site, SENTINEL, asset=asset, role=role, key=key, after=after, variables={"ENDPOINT": endpoint}
    )
    # The next round makes up for one that failed; rounds of the past say nothing of the present.
    LambdaFunctionEventInvokeConfig(
        stack,
        "sentinel_calls",
        function_name=function.function_name,
        maximum_retry_attempts=0,
        maximum_event_age_in_seconds=INTERVAL_SECONDS,
    )
    every_minute(
        stack,
        site,
        function,
        name=SENTINEL.name,
        description="Has the region give a sign of life, and look for its peer's",
        target_id=SENTINEL.name,
        event="{}",
    )
    return function
