"""Rules on the recipients of notifications, and on notifications that could not be delivered."""

import json

from healthcare_dr.infra.lint.model import ACCOUNT, Platform, Problems, allows, listed, principals, rule
from healthcare_dr.naming import PIPELINE
from patient_api.contract.functions import RELAY

SUBSCRIPTION, QUEUE = "aws_sns_topic_subscription", "aws_sqs_queue"
# SNS's default repeats a delivery for one minute, and its limit is one hour.
FEWEST_RETRIES, LONGEST_RETRIES_SECONDS = 20, 3600
# The policies of the pipeline with permissions on the parameter. All three roles read it: each plans or verifies.
PIPELINE_PARAMETERS = {
    "read-operations": {"ssm:GetParameter", "ssm:ListTagsForResource"},
    "operations": {
        "ssm:AddTagsToResource",
        "ssm:DeleteParameter",
        "ssm:PutParameter",
        "ssm:RemoveTagsFromResource",
    },
    "boundary": {"ssm:GetParameter"},
}


@rule("R7.1", "R7.2")
def topics(platform: Platform) -> Problems:
    """Either region must notify operators of a failover."""
    emails = set(platform.settings.operations_emails)
    for region in platform.settings.regions:
        if len(list(platform.resources("aws_sns_topic", region=region))) != 1:
            yield region, "must have one topic for operations"
        subscriptions = list(platform.resources(SUBSCRIPTION, region=region))
        subscribed = {each.get("endpoint") for each in subscriptions if each.get("protocol") == "email"}
        for email in sorted(emails - subscribed):
            yield region, f"{email} is not subscribed"
        addresses = [each.get("endpoint") for each in subscriptions if each.get("protocol") == "https"]
        expected = [f"${{var.operations_endpoints[{n}]}}" for n in range(len(platform.settings.operations_endpoints))]
        if sorted(addresses) != expected:
            yield region, f"{len(expected)} HTTPS endpoints must be subscribed by the variable operations_endpoints"
        for each in subscriptions:
            topic = platform.referred(each.stack, each.get("topic_arn"))
            if topic is None or topic.kind != "aws_sns_topic" or topic.region != region:
                yield each.address, f"must be a subscription of the topic of {region}"
            if each.get("protocol") == "http":
                yield each.address, "must use https"


@rule("R7.1", "C3")
def topic_admits(platform: Platform) -> Problems:
    """A topic silently drops messages that its policy does not allow."""
    for topic in platform.resources("aws_sns_topic"):
        statements = [
            statement
            for statement in platform.attached_statements(topic, "aws_sns_topic_policy", "arn")
            if allows(statement, "sns:Publish", topic.expression("arn"))
        ]
        for service in ("cloudwatch.amazonaws.com", "s3.amazonaws.com"):
            if not any(service in principals(statement, "Service") for statement in statements):
                yield topic.address, f"its policy must let {service} publish"


@rule("R7.2", "C6")
def notification_secrets(platform: Platform) -> Problems:
    """The address of an endpoint is a secret: it must not be in a file that is shared and not encrypted."""
    settings = platform.settings
    secrets = [each.get_secret_value() for each in (*settings.operations_endpoints, *settings.operations_webhooks)]
    for stack, document in platform.documents.items():
        # Terraform's JSON may escape an ampersand.
        text = json.dumps(document, ensure_ascii=False).replace("\\u0026", "&")
        if any(secret in text for secret in secrets):
            yield stack, "contains the address of an endpoint"
        for name, variable in document.get("variable", {}).items():
            secret = name in ("operations_endpoints", "operations_webhooks")
            if secret and (variable.get("sensitive") is not True or "default" in variable):
                yield f"{stack}/var.{name}", "must be sensitive and have no default"


@rule("R7.2", "C5")
def undelivered_notifications(platform: Platform) -> Problems:
    """SNS discards a notification that it cannot deliver, unless the subscription has a dead-letter queue."""
    for each in platform.resources(SUBSCRIPTION):
        if each.get("protocol") == "email":
            continue  # SNS has no dead-letter queue for e-mail.
        target = json.loads(each.get("redrive_policy") or "{}").get("deadLetterTargetArn")
        queue = platform.referred(each.stack, target)
        if queue is None or queue.kind != QUEUE or queue.region != each.region:
            yield each.address, f"must send what cannot be delivered to a queue of {each.region}"
            continue
        topic = platform.referred(each.stack, each.get("topic_arn"))
        source = {"ArnEquals": {"aws:SourceArn": topic.expression("arn") if topic else None}}
        if not any(
            allows(statement, "sqs:SendMessage", queue.expression("arn"))
            and principals(statement, "Service") == ["sns.amazonaws.com"]
            and statement.get("Condition") == source
            for statement in platform.attached_statements(queue, "aws_sqs_queue_policy", "queue_url")
        ):
            yield queue.address, "its policy must let SNS send messages for the region's topic, and for no other one"
        if each.get("protocol") == "https":
            retries = json.loads(each.get("delivery_policy") or "{}").get("healthyRetryPolicy", {})
            number, longest = retries.get("numRetries", 0), retries.get("maxDelayTarget", 0)
            if number < FEWEST_RETRIES or number * longest > LONGEST_RETRIES_SECONDS:
                yield each.address, f"must be retried at least {FEWEST_RETRIES} times, within an hour"
    for queue in platform.resources(QUEUE):
        statements = list(platform.attached_statements(queue, "aws_sqs_queue_policy", "queue_url"))
        denied = [s.get("Condition") for s in statements if s["Effect"] == "Deny" and principals(s, "AWS") == ["*"]]
        if {"Bool": {"aws:SecureTransport": "false"}} not in denied:
            yield queue.address, "its policy must refuse requests without TLS"
        for statement in statements:
            if statement["Effect"] == "Allow" and principals(statement, "AWS"):
                yield queue.address, f"statement {statement['Sid']} admits principals of AWS; only SNS may send"
        if queue.get("message_retention_seconds") != 1_209_600:
            yield queue.address, "must keep messages for 14 days"


@rule("R7.2", "C4", "C5", "C6")
def notification_relay(platform: Platform) -> Problems:
    """Webhooks cannot subscribe to SNS. Either region must reach them alone, and notice when it does not."""
    yield from _pipeline_reads_webhooks(platform)
    if not platform.settings.operations_webhooks:
        if any(platform.functions(RELAY.name)):
            yield RELAY.name, "there are no webhooks"
        return
    for region in platform.settings.regions:
        parameters = list(platform.resources("aws_ssm_parameter", region=region))
        expected = ("SecureString", '${join("\\n", var.operations_webhooks)}', platform.names.of("webhooks"))
        found = [tuple(each.get(name) for name in ("type", "value", "name")) for each in parameters]
        if found != [expected]:
            yield region, "one encrypted parameter must contain the variable operations_webhooks"
        functions = platform.functions(RELAY.name, region)
        if len(functions) != 1:
            yield region, f"must have the function {RELAY.name}"
        for function in functions:
            sized = tuple(function.get(name) for name in ("handler", "memory_size", "timeout"))
            if sized != (RELAY.handler, RELAY.memory_mb, RELAY.timeout_seconds):
                yield (
                    function.address,
                    f"must run {RELAY.handler} with {RELAY.memory_mb} MB and {RELAY.timeout_seconds} s",
                )
            subscriptions = [
                each
                for each in platform.resources(SUBSCRIPTION, region=region)
                if each.get("protocol") == "lambda" and platform.referred(each.stack, each.get("endpoint")) == function
            ]
            if len(subscriptions) != 1:
                yield function.address, "must be subscribed to the topic of its region"
            topics = list(platform.resources("aws_sns_topic", region=region))
            permitted = [
                (each.get("principal"), each.get("source_arn"))
                for each in platform.attached(function, "aws_lambda_permission", "function_name")
            ]
            if permitted != [("sns.amazonaws.com", topic.expression("arn")) for topic in topics]:
                yield function.address, "only the topic of its region may call it"
            calls = list(platform.attached(function, "aws_lambda_function_event_invoke_config", "function_name"))
            kept = [
                platform.referred(each.stack, each.get("destination_config", "on_failure", "destination"))
                for each in calls
            ]
            if [queue.kind if queue else None for queue in kept] != [QUEUE]:
                yield function.address, "must send its failures to the queue: to the topic, they would call it again"
        secret = f"arn:aws:ssm:{region}:{ACCOUNT}:parameter/{platform.names.of('webhooks')}"
        allowed = (platform.names.of("relay", region), [secret])
        for holder in platform.resources("aws_iam_policy", region=region):
            if holder.stack == PIPELINE:
                continue
            for statement in holder.statements():
                reads = any(action.startswith("ssm:") for action in listed(statement["Action"]))
                if reads and (holder.get("name"), listed(statement["Resource"])) != allowed:
                    yield holder.address, "only the relay may read the webhooks, and no other parameter"


def _pipeline_reads_webhooks(platform: Platform) -> Problems:
    """Yield permissions of the pipeline on parameters that a plan, a deployment or a verification does not need."""
    name = platform.names.of("webhooks")
    secrets = {f"arn:aws:ssm:{region}:{ACCOUNT}:parameter/{name}" for region in platform.settings.regions}
    for holder in platform.resources("aws_iam_policy"):
        if holder.stack != PIPELINE:
            continue
        policy = str(holder.get("name"))
        bound = policy == platform.names.of_pipeline("boundary")
        for statement in holder.statements():
            actions = {action for action in listed(statement["Action"]) if action.startswith("ssm:")}
            if not actions or actions == {"ssm:DescribeParameters"}:
                continue
            needed = next((n for n in PIPELINE_PARAMETERS if policy == platform.names.of_pipeline(n)), None)
            if needed is None or not actions <= PIPELINE_PARAMETERS[needed]:
                yield holder.address, f"{statement['Sid']} must not allow {', '.join(sorted(actions))}"
            found = {text for text in listed(statement["Resource"]) if text.startswith(("arn:aws:ssm:", "*"))}
            if found != ({f"arn:aws:ssm:*:{ACCOUNT}:parameter/{name}"} if bound else secrets):
                yield holder.address, f"{statement['Sid']} must be limited to the parameter of the webhooks"
    for attachment in platform.resources("aws_iam_role_policy_attachment"):
        if attachment.stack != PIPELINE:
            continue
        policy_of = platform.referred(PIPELINE, attachment.get("policy_arn"))
        role = platform.referred(PIPELINE, attachment.get("role"))
        writes = policy_of is not None and policy_of.get("name") == platform.names.of_pipeline("operations")
        if writes and (role is None or role.get("name") != platform.names.of_pipeline("deploy")):
            yield attachment.address, "only the deploy role may write the webhooks"
