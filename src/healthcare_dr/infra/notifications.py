"""The SNS topic of a region that notifies operators of failovers and alarms."""

from cdktn import TerraformStack
from cdktn_provider_aws.kms_key import KmsKey
from cdktn_provider_aws.sns_topic import SnsTopic
from cdktn_provider_aws.sns_topic_policy import SnsTopicPolicy
from cdktn_provider_aws.sns_topic_subscription import SnsTopicSubscription

from healthcare_dr.infra import policy
from healthcare_dr.infra.region_context import RegionContext

PUBLISHERS = ("cloudwatch", "s3")


def operations_topic(stack: TerraformStack, site: RegionContext, key: KmsKey) -> SnsTopic:
    """An encrypted topic that CloudWatch and S3 of this account may publish to, with the operations e-mails."""
    topic = SnsTopic(stack, "operations_topic", name=site.names.of("operations"), kms_master_key_id=key.arn)
    SnsTopicPolicy(
        stack,
        "operations_topic_policy",
        arn=topic.arn,
        policy=policy.document(
            *(
                policy.allow(
                    f"Publish{service.title()}",
                    ["sns:Publish"],
                    topic.arn,
                    principal={"Service": f"{service}.amazonaws.com"},
                    condition={"StringEquals": {"aws:SourceAccount": site.account}},
                )
                for service in PUBLISHERS
            ),
            policy.deny_plaintext(["sns:Publish"], [topic.arn]),
        ),
    )
    for number, address in enumerate(site.settings.operations_emails):
        SnsTopicSubscription(
            stack, f"operations_email_{number}", topic_arn=topic.arn, protocol="email", endpoint=address
        )
    return topic
