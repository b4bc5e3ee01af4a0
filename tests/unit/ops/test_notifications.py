"""The addresses of recipients are given to Terraform, and shown in no message."""

import json

import pytest
from pydantic import SecretStr

from healthcare_dr.emulator.admin_api import Notification
from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.notifications import revealed, shown, terraform_variables, without_secrets
from healthcare_dr.ops.notify import Recipient, RegionTest, await_arrival, send_tests, topics_of
from unit.ops.verify.fakes import EAST, WEST, Answers, Aws, refusal

PAGER = "https://events.example.com/integration/KEY/enqueue?a=1&b=2"
TOPICS = {EAST: "arn:aws:sns:us-east-1:1:operations", WEST: "arn:aws:sns:us-west-2:1:operations"}


def test_address_is_shown_without_its_secret() -> None:
    assert shown(PAGER) == "https://events.example.com/…"


def test_variables_have_the_addresses_in_order() -> None:
    addresses = revealed((SecretStr(PAGER), SecretStr("https://x.example")))
    given = terraform_variables(endpoints=addresses, webhooks=addresses[1:])
    assert {name: json.loads(value) for name, value in given.items()} == {
        "TF_VAR_operations_endpoints": [PAGER, "https://x.example"],
        "TF_VAR_operations_webhooks": ["https://x.example"],
    }
    assert terraform_variables(endpoints=(), webhooks=()) == {}


@pytest.mark.parametrize("form", [PAGER, PAGER.replace("&", "\\u0026")])
def test_secret_is_removed_from_text(form: str) -> None:
    cleaned = without_secrets(f'{{"endpoint": "{form}"}}', ["https://events.example.com/integration", PAGER])
    assert json.loads(cleaned) == {"endpoint": "(secret)"}


class Paginated(Aws):
    """Responses of clients whose lists have one page."""

    def client(self, service: str, region: str) -> "Paginated.Client":
        return self.Client(super().client(service, region))

    class Client:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def get_paginator(self, operation: str) -> "Paginated.Client":
            return type(self)(_Pages(getattr(self._inner, operation)))


class _Pages:
    def __init__(self, call: object) -> None:
        self._call = call

    def paginate(self, **request: object) -> list[object]:
        return [self._call(**request)]  # type: ignore[operator] # a method of a fake client


def responses(*arns: str, state: str = "OK") -> Answers:
    subscriptions = [{"Protocol": "https", "Endpoint": PAGER, "SubscriptionArn": arn} for arn in arns]
    return {
        ("sns", "list_subscriptions_by_topic"): {"Subscriptions": subscriptions},
        ("cloudwatch", "describe_alarms"): {"MetricAlarms": [{"StateValue": state}]},
        ("cloudwatch", "set_alarm_state"): {},
    }


@pytest.mark.requirement("R7.2")
def test_test_notification_sets_the_alarm_of_both_regions() -> None:
    aws = Paginated(responses("arn:aws:sns:x"))
    reason, tests = send_tests(aws.client, TOPICS, Names("dev"))
    assert [(test.region, test.passed) for test in tests] == [(EAST, True), (WEST, True)]
    assert [request for _, _, name, request in aws.requests if name == "set_alarm_state"] == [
        {"AlarmName": "healthcare-dr-conflicts-dev", "StateValue": "ALARM", "StateReason": reason}
    ] * 2
    assert "KEY" not in json.dumps([test.document() for test in tests])


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (responses("PendingConfirmation"), ""),
        (responses(), ""),
        (responses("arn:x", state="ALARM"), "fires already"),
        ({**responses("arn:x"), ("cloudwatch", "describe_alarms"): {"MetricAlarms": []}}, "does not exist"),
        ({**responses("arn:x"), ("cloudwatch", "set_alarm_state"): refusal("AccessDenied")}, "AccessDenied"),
    ],
)
def test_region_that_was_not_notified_does_not_pass(answers: Answers, problem: str) -> None:
    _, tests = send_tests(Paginated(answers).client, TOPICS, Names("dev"))
    assert [test.passed for test in tests] == [False, False]
    assert all(problem in test.problem for test in tests)


def test_missing_arrival_is_reported() -> None:
    recipient = Recipient(protocol="https", address="https://x/…", confirmed=True)
    sent = [RegionTest(region=region, recipients=(recipient,)) for region in (EAST, WEST)]
    arrived = Notification(receiver="endpoint-0", region=EAST, text="…test 1…", received="")
    found = await_arrival(sent, reason="test 1", receivers=["endpoint-0"], received=lambda: [arrived], seconds=0)
    assert [(test.passed, test.missing) for test in found] == [(True, ()), (False, ("endpoint-0",))]


def test_region_without_topic_is_refused() -> None:
    with pytest.raises(DeploymentError, match="us-west-2 has no topic"):
        topics_of({EAST: "arn", WEST: None})
