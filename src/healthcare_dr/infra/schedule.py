"""Functions that are called by the clock."""

from cdktn import TerraformStack
from cdktn_provider_aws.cloudwatch_event_rule import CloudwatchEventRule
from cdktn_provider_aws.cloudwatch_event_target import CloudwatchEventTarget
from cdktn_provider_aws.lambda_function import LambdaFunction
from cdktn_provider_aws.lambda_permission import LambdaPermission

from healthcare_dr.infra.site import Site

EVERY_MINUTE = "rate(1 minute)"


def every_minute(
    stack: TerraformStack,
    site: Site,
    function: LambdaFunction,
    *,
    name: str,
    description: str,
    target_id: str,
    event: str,
) -> None:
    """Call the function every minute with an event, in JSON; only this rule may. `name` is the rule's."""
    rule = CloudwatchEventRule(
        stack,
        f"{name}_rule",
        name=site.names.of(name),
        description=description,
        schedule_expression=EVERY_MINUTE,
    )
    permission = LambdaPermission(
        stack,
        f"{name}_permission",
        statement_id=name,
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        principal="events.amazonaws.com",
        source_arn=rule.arn,
    )
    CloudwatchEventTarget(
        stack,
        f"{name}_target",
        rule=rule.name,
        target_id=target_id,
        arn=function.arn,
        input=event,
        depends_on=[permission],
    )
