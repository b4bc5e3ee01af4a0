"""Correct ministack's SNS: confirmations, retries, dead-letter queues, and no delivery beyond loopback."""

import json
import logging
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from ministack.core.arn import parse_arn
from ministack.core.responses import request_scope
from ministack.services import lambda_svc, sns

from healthcare_dr.emulator.configuration import HOST
from healthcare_dr.emulator.patches.replacement import Operation, Response, replaces

# AWS repeats a delivery by the policy of the subscription, which takes longer than a drill.
ATTEMPTS = 3

logger = logging.getLogger("healthcare_dr.emulator")


@replaces(sns, "_subscribe")
def return_requested_subscription_arn(inner: Operation, params: dict[str, Any]) -> Response:
    """Subscribe ignored ReturnSubscriptionArn, so Terraform never found its subscription confirmed."""
    status, headers, body = inner(params)
    if status == 200 and sns._p(params, "ReturnSubscriptionArn") == "true":
        topic = sns._topic_by_arn_any_scope(sns._normalize_arn(sns._p(params, "TopicArn")))
        wanted = sns._p(params, "Protocol"), sns._p(params, "Endpoint")
        for subscription in topic["subscriptions"]:
            if (subscription["protocol"], subscription["endpoint"]) == wanted:
                body = body.replace(b"pending confirmation", subscription["arn"].encode())
    return status, headers, body


@replaces(sns, "_list_subscriptions_by_topic")
def list_pending_confirmation(inner: Operation, params: dict[str, Any]) -> Response:
    """Unconfirmed subscriptions were listed like confirmed ones."""
    status, headers, body = inner(params)
    topic = sns._topic_by_arn_any_scope(sns._normalize_arn(sns._p(params, "TopicArn")))
    for subscription in (topic or {}).get("subscriptions", ()):
        if not subscription["confirmed"]:
            tag = b"<SubscriptionArn>%s</SubscriptionArn>"
            body = body.replace(tag % subscription["arn"].encode(), tag % b"PendingConfirmation")
    return status, headers, body


@replaces(sns, "_deliver_to_lambda")
def retry_subscribed_functions(inner: Any, endpoint: str, envelope: str, *rest: Any) -> None:
    """A function that SNS invoked was not invoked again when it failed, and its failure destination got nothing."""
    del inner
    function, configuration, _ = lambda_svc._get_func_record_for_ref(endpoint)
    if function and configuration:
        record = {"EventSource": "aws:sns", "EventVersion": "1.0", "EventSubscriptionArn": rest[1]}
        event = {"Records": [{**record, "Sns": json.loads(envelope)}]}
        lambda_svc.invoke_async_with_retry(lambda_svc._execution_record_for_config(function, configuration), event)


@replaces(sns, "_http_post_sync")
def post_to_loopback_only(inner: Any, endpoint: str, payload: str, message_type: str) -> int:
    """Notifications were sent to any host. The embedded AWS sends nothing beyond loopback."""
    if urlsplit(endpoint).hostname != HOST:
        raise ConnectionRefusedError("the embedded AWS sends nothing beyond loopback")
    return int(inner(endpoint, payload, message_type))


@replaces(sns, "_deliver_to_http")
async def keep_undelivered_notifications(inner: Any, endpoint: str, payload: str) -> None:
    """A notification that an endpoint refused was dropped, though its subscription had a dead-letter queue."""
    del inner
    for _ in range(ATTEMPTS):
        try:
            # This runs on a thread and a loop of its own.
            sns._http_post_sync(endpoint, payload, "Notification")
        except (OSError, HTTPException) as error:
            reason = error
        else:
            return
    logger.warning("A notification to %s was not delivered: %s", urlsplit(endpoint).netloc, reason)
    topic = json.loads(payload)["TopicArn"]
    scope = parse_arn(topic)
    with request_scope(scope.account_id, scope.region):
        for subscription in sns._topics[topic]["subscriptions"]:
            redrive = json.loads(subscription["attributes"].get("RedrivePolicy") or "{}")
            if subscription["endpoint"] == endpoint and redrive:
                sns._deliver_to_sqs(redrive["deadLetterTargetArn"], payload, False, payload, topic_arn=topic)
