"""Tests of notifications: receivers confirm their subscription, and what no endpoint accepts is kept."""

import json
import uuid

import httpx
import pytest
from ministack.services import sns

from healthcare_dr.emulator.admin_api import RECEIVERS_PATH
from healthcare_dr.emulator.patches.sns import post_to_loopback_only
from unit.emulator.aws import ACCOUNT, EAST, REGIONS, WEST, Aws, eventually, only_when_patched
from unit.http_server import Request, Response, http_server


def topic_of(aws: Aws, region: str = EAST) -> str:
    return str(aws("sns", region).create_topic(Name=uuid.uuid4().hex)["TopicArn"])


def confirmed(aws: Aws, topic: str, region: str = EAST) -> list[str]:
    found = aws("sns", region).list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    return [each["Endpoint"] for each in found if each["SubscriptionArn"].startswith("arn:")]


def limit_of(aws: Aws) -> float:
    """Return the seconds to wait for a message that only arrives with the patches."""
    return 120.0 if aws.emulator.patched else 5.0


@only_when_patched
def test_subscribe_returns_the_requested_arn(aws: Aws) -> bool:
    client, topic = aws("sns", WEST), topic_of(aws, WEST)
    target = {"TopicArn": topic, "Protocol": "https", "Endpoint": "https://127.0.0.1:1/x?a=1&b=2"}
    made = client.subscribe(**target, ReturnSubscriptionArn=True)["SubscriptionArn"]
    if not made.startswith(topic):
        return False
    assert client.subscribe(**target, ReturnSubscriptionArn=True)["SubscriptionArn"] == made
    return bool(client.get_subscription_attributes(SubscriptionArn=made)["Attributes"]["PendingConfirmation"] == "true")


@only_when_patched
def test_unconfirmed_subscription_is_listed_as_pending(aws: Aws) -> bool:
    client, topic = aws("sns"), topic_of(aws)
    client.subscribe(TopicArn=topic, Protocol="https", Endpoint="https://127.0.0.1:1/x")
    client.subscribe(TopicArn=topic, Protocol="email", Endpoint="ops@example.org")
    found = client.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    pending = {each["Protocol"]: each["SubscriptionArn"] == "PendingConfirmation" for each in found}
    return pending == {"https": True, "email": False}


@pytest.mark.requirement("R7.2")
@pytest.mark.parametrize("region", REGIONS)
def test_receiver_confirms_its_subscription_and_keeps_notifications(patched: Aws, region: str) -> None:
    topic, address = topic_of(patched, region), patched.emulator.receiver("pager")
    patched("sns", region).subscribe(TopicArn=topic, Protocol="https", Endpoint=address)
    assert eventually(lambda: confirmed(patched, topic, region)) == [address]
    text = uuid.uuid4().hex
    patched("sns", region).publish(TopicArn=topic, Message=text)
    received = eventually(lambda: [each for each in patched.emulator.notifications() if each.text == text])
    assert [(each.receiver, each.region) for each in received] == [("pager", region)]


def test_notifications_are_returned_to_root_only(patched: Aws) -> None:
    with patched.web() as client:
        address = patched.emulator.receiver("pager")
        assert client.get(address.removesuffix("/pager")).status_code == httpx.codes.NOT_FOUND
        assert address.endswith(f"{RECEIVERS_PATH}/pager")
        for body in ("", "[]", "{}", '{"Message": 1, "TopicArn": "x"}', '{"text"'):
            assert client.post(address, content=body).status_code == httpx.codes.BAD_REQUEST


@only_when_patched
def test_undelivered_notification_is_kept(aws: Aws) -> bool:
    topic, name = topic_of(aws, WEST), uuid.uuid4().hex
    sqs, client = aws("sqs", WEST), aws("sns", WEST)
    queue, arn = sqs.create_queue(QueueName=name)["QueueUrl"], f"arn:aws:sqs:{WEST}:{ACCOUNT}:{name}"
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
                 "Resource": arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic}}}  # fmt: skip
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": [statement]})})
    tokens: list[str] = []
    refused: list[str] = []

    def respond(request: Request) -> Response:
        content = json.loads(request.body)
        if "Token" in content:
            tokens.append(content["Token"])
            return Response(200, b"")
        refused.append(content["Message"])
        return Response(503, b"")

    with http_server(respond) as address:
        redrive = json.dumps({"deadLetterTargetArn": arn})
        client.subscribe(
            TopicArn=topic, Protocol="http", Endpoint=f"{address}/x", Attributes={"RedrivePolicy": redrive}
        )
        assert eventually(lambda: tokens)
        client.confirm_subscription(TopicArn=topic, Token=tokens[0])
        client.publish(TopicArn=topic, Message="lost?")
        assert eventually(lambda: refused)
        kept = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"), within=limit_of(aws))
    return [json.loads(each["Body"])["Message"] for each in kept or ()] == ["lost?"]


@only_when_patched
def test_failure_of_a_subscribed_function_is_kept(aws: Aws) -> bool:
    topic, name = topic_of(aws), uuid.uuid4().hex
    queue = aws("sqs").create_queue(QueueName=name)["QueueUrl"]
    function = aws.function(name, "def handler(event, context):\n    raise ValueError('not accepted')")
    aws("lambda").put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:sqs:{EAST}:{ACCOUNT}:{name}"}},
    )
    aws("sns").subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    aws("sns").publish(TopicArn=topic, Message="not posted")
    kept = eventually(lambda: aws("sqs").receive_message(QueueUrl=queue).get("Messages"), within=limit_of(aws))
    return ["not posted" in each["Body"] for each in kept or ()] == [True]


def test_nothing_is_sent_beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def post(endpoint: str, *_: str) -> int:
        sent.append(endpoint)
        return 200

    monkeypatch.setattr(sns, "_http_post_sync", post)
    post_to_loopback_only()
    assert sns._http_post_sync("https://127.0.0.1:1/x", "", "Notification") == 200
    for address in ("https://events.example.com/x", "https://127.0.0.1.example.com/x", "http://10.0.0.1/x"):
        with pytest.raises(ConnectionRefusedError):
            sns._http_post_sync(address, "", "Notification")
    assert sent == ["https://127.0.0.1:1/x"]
