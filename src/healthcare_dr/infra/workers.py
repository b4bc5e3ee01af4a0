"""The two functions of a region that no client calls: one follows its documents, the other its tables.

What calls them is declared where it is known: the bucket's events and the tables' streams by the global stack, which
finds the functions by their names. They are called as they are, without an alias: nobody waits for their answer, a
call that fails is repeated, and so there is no version to hold back or to go back to by hand.
"""

import json
from collections.abc import Sequence

from cdktn import ITerraformDependable, TerraformStack
from cdktn_provider_aws.iam_role import IamRole
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_function import LambdaFunction
from cdktn_provider_aws.lambda_function_event_invoke_config import (
    LambdaFunctionEventInvokeConfig,
    LambdaFunctionEventInvokeConfigDestinationConfig,
    LambdaFunctionEventInvokeConfigDestinationConfigOnFailure,
)
from cdktn_provider_aws.lambda_permission import LambdaPermission
from cdktn_provider_aws.sns_topic import SnsTopic

from healthcare_dr.infra.function import Asset, Shape, lambda_function
from healthcare_dr.infra.schedule import every_minute
from healthcare_dr.infra.site import Site

CONFIRMATION = Shape(
    name="document-confirmation",
    handler="patient_api.confirmation.handler",
    description="Makes a document final once both regions hold its bytes, and copies what is late",
    # One whole vCPU: it hashes documents of up to 5 GB.
    memory_mb=1769,
    timeout_seconds=900,
)
RECONCILIATION = Shape(
    name="reconciliation",
    handler="patient_api.reconciliation.handler",
    description="Finds versions that both regions wrote at once, and items that were changed",
    memory_mb=1024,
    timeout_seconds=60,
)
SWEEP = json.dumps({"sweep": True})
RETRIES = 2
# Older than this, a call is worth nothing any more: a sweep has done its work.
MAXIMUM_EVENT_AGE_SECONDS = 3600


def document_confirmation(
    stack: TerraformStack,
    site: Site,
    *,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    topic: SnsTopic,
    after: Sequence[ITerraformDependable],
) -> LambdaFunction:
    """The function, the leave of its bucket to call it, its sweep of every minute, and who hears of what failed."""
    function = lambda_function(stack, site, CONFIRMATION, asset=asset, role=role, key=key, after=after)
    LambdaFunctionEventInvokeConfig(
        stack,
        "document_confirmation_calls",
        function_name=function.function_name,
        maximum_retry_attempts=RETRIES,
        maximum_event_age_in_seconds=MAXIMUM_EVENT_AGE_SECONDS,
        destination_config=LambdaFunctionEventInvokeConfigDestinationConfig(
            on_failure=LambdaFunctionEventInvokeConfigDestinationConfigOnFailure(destination=topic.arn)
        ),
    )
    LambdaPermission(
        stack,
        "documents_permission",
        statement_id="documents",
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        principal="s3.amazonaws.com",
        source_arn=site.documents_arn,
        # A bucket's ARN names no account, and a name that is free again can become somebody else's.
        source_account=site.account,
    )
    # For events that were lost, and for copies that are late.
    every_minute(
        stack,
        site,
        function,
        name="sweep",
        description="Looks after documents that are not final yet",
        target_id=CONFIRMATION.name,
        event=SWEEP,
    )
    return function


def reconciliation(
    stack: TerraformStack,
    site: Site,
    *,
    asset: Asset,
    role: IamRole,
    key: KmsKey,
    after: Sequence[ITerraformDependable],
) -> LambdaFunction:
    """The function that the streams of both tables call."""
    return lambda_function(stack, site, RECONCILIATION, asset=asset, role=role, key=key, after=after)
