"""The notifications of a region: its SNS topic, the subscriptions, and the queue of undelivered notifications.

The addresses of HTTPS endpoints contain secrets. They are sensitive variables without a default, whose values a target
passes to Terraform, so the synthesized JSON does not contain them; Terraform's state does.
"""

import json

from cdktn import TerraformVariable
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.lambda_function import LambdaFunction
from cdktn_provider_aws.lambda_function_event_invoke_config import (
    LambdaFunctionEventInvokeConfig,
    LambdaFunctionEventInvokeConfigDestinationConfig,
    LambdaFunctionEventInvokeConfigDestinationConfigOnFailure,
)
from cdktn_provider_aws.lambda_permission import LambdaPermission
from cdktn_provider_aws.sns_topic import SnsTopic
from cdktn_provider_aws.sns_topic_policy import SnsTopicPolicy
from cdktn_provider_aws.sns_topic_subscription import SnsTopicSubscription
from cdktn_provider_aws.sqs_queue import SqsQueue
from cdktn_provider_aws.sqs_queue_policy import SqsQueuePolicy
from cdktn_provider_aws.ssm_parameter import SsmParameter

from healthcare_dr.infra import policy
from healthcare_dr.infra.region_context import RegionContext
from healthcare_dr.settings import Settings

ENDPOINTS_VARIABLE, WEBHOOKS_VARIABLE = "operations_endpoints", "operations_webhooks"
# SNS repeats a failed delivery for about 23 minutes, of at most an hour that it allows: 15 s with the shortest delay,
# then 6 retries whose delays grow from 5 to 60 s (two to three minutes), then 20 minutes. Its default is one minute.
DELIVERY_POLICY = {
    "healthyRetryPolicy": {
        "minDelayTarget": 5,
        "maxDelayTarget": 60,
        "numRetries": 30,
        "numNoDelayRetries": 1,
        "numMinDelayRetries": 3,
        "numMaxDelayRetries": 20,
        "backoffFunction": "exponential",
    }
}
CONFIRMATION_MINUTES = 3
# The longest that SQS keeps a message.
KEPT_SECONDS = 14 * 24 * 3600


def operations_topic(site: RegionContext, key: KmsKey) -> SnsTopic:
    """Create an encrypted topic for CloudWatch and S3 of this account, with its subscriptions."""
    topic = SnsTopic(site.stack, "operations_topic", name=site.names.of("operations"), kms_master_key_id=key.arn)
    publishers = (
        policy.allow(
            f"Publish{service.title()}",
            ["sns:Publish"],
            topic.arn,
            principal={"Service": f"{service}.amazonaws.com"},
            condition={"StringEquals": {"aws:SourceAccount": site.account}},
        )
        for service in ("cloudwatch", "s3")
    )
    document = policy.document(*publishers, policy.deny_plaintext(["sns:Publish"], [topic.arn]))
    SnsTopicPolicy(site.stack, "operations_topic_policy", arn=topic.arn, policy=document)
    for number, email in enumerate(site.settings.operations_emails):
        SnsTopicSubscription(
            site.stack, f"operations_email_{number}", topic_arn=topic.arn, protocol="email", endpoint=email
        )
    if keeps_undelivered(site.settings):
        queue = _undelivered_queue(site, key, topic)
        _endpoints(site, topic, queue)
        if site.settings.operations_webhooks:
            _webhooks_parameter(site, key)
    return topic


def keeps_undelivered(settings: Settings) -> bool:
    """Return whether a region has subscribers whose undelivered notifications are kept. SNS keeps none of e-mails."""
    return bool(settings.operations_endpoints or settings.operations_webhooks)


def _undelivered_queue(site: RegionContext, key: KmsKey, topic: SnsTopic) -> SqsQueue:
    """Create the encrypted queue to which only the region's topic sends what it could not deliver."""
    queue = SqsQueue(
        site.stack,
        "undelivered_queue",
        name=site.names.of("undelivered"),
        kms_master_key_id=key.arn,
        message_retention_seconds=KEPT_SECONDS,
    )
    document = policy.document(
        policy.allow(
            "UndeliveredOfTopic",
            ["sqs:SendMessage"],
            queue.arn,
            principal={"Service": "sns.amazonaws.com"},
            condition={"ArnEquals": {"aws:SourceArn": topic.arn}},
        ),
        policy.deny_plaintext(["sqs:*"], [queue.arn]),
    )
    SqsQueuePolicy(site.stack, "undelivered_queue_policy", queue_url=queue.url, policy=document)
    return queue


def _endpoints(site: RegionContext, topic: SnsTopic, queue: SqsQueue) -> None:
    """Subscribe the endpoints that confirm the subscription themselves."""
    if not site.settings.operations_endpoints:
        return
    _secret_variable(
        site, ENDPOINTS_VARIABLE, "HTTPS endpoints that receive the alarms, as in HDR_OPERATIONS_ENDPOINTS"
    )
    for number in range(len(site.settings.operations_endpoints)):
        SnsTopicSubscription(
            site.stack,
            f"operations_endpoint_{number}",
            topic_arn=topic.arn,
            protocol="https",
            endpoint=f"${{var.{ENDPOINTS_VARIABLE}[{number}]}}",
            endpoint_auto_confirms=True,
            confirmation_timeout_in_minutes=CONFIRMATION_MINUTES,
            delivery_policy=json.dumps(DELIVERY_POLICY, sort_keys=True),
            redrive_policy=json.dumps({"deadLetterTargetArn": queue.arn}),
        )


def _webhooks_parameter(site: RegionContext, key: KmsKey) -> None:
    """Create the encrypted parameter of the region with the addresses of the webhooks, one in each line."""
    _secret_variable(site, WEBHOOKS_VARIABLE, "Webhooks that receive the alarms, as in HDR_OPERATIONS_WEBHOOKS")
    SsmParameter(
        site.stack,
        "webhooks_parameter",
        name=site.names.of("webhooks"),
        description="Addresses of webhooks for notifications",
        type="SecureString",
        key_id=key.arn,
        value=f'${{join("\\n", var.{WEBHOOKS_VARIABLE})}}',
    )


def relay_subscription(site: RegionContext, topic: SnsTopic, function: LambdaFunction) -> None:
    """Subscribe the relay to the topic, and keep what it cannot deliver."""
    queue_arn = "${aws_sqs_queue.undelivered_queue.arn}"
    LambdaFunctionEventInvokeConfig(
        site.stack,
        "notification_relay_calls",
        function_name=function.function_name,
        maximum_retry_attempts=2,
        maximum_event_age_in_seconds=3600,
        # Not the topic: the report of a failure would call the relay again.
        destination_config=LambdaFunctionEventInvokeConfigDestinationConfig(
            on_failure=LambdaFunctionEventInvokeConfigDestinationConfigOnFailure(destination=queue_arn)
        ),
    )
    permission = LambdaPermission(
        site.stack,
        "notification_relay_permission",
        statement_id="notifications",
        action="lambda:InvokeFunction",
        function_name=function.function_name,
        principal="sns.amazonaws.com",
        source_arn=topic.arn,
    )
    SnsTopicSubscription(
        site.stack,
        "notification_relay_subscription",
        topic_arn=topic.arn,
        protocol="lambda",
        endpoint=function.arn,
        redrive_policy=json.dumps({"deadLetterTargetArn": queue_arn}),
        depends_on=[permission],
    )


def _secret_variable(site: RegionContext, name: str, description: str) -> None:
    TerraformVariable(site.stack, name, type="list(string)", sensitive=True, description=description)
