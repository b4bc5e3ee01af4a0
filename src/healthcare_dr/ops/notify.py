"""Test the notifications of both regions: set an alarm by hand, and list the recipients of its topic.

CloudWatch notifies recipients exactly as in an incident, with its own permissions for the encrypted topic. It
reevaluates the alarm within seconds or minutes and notifies again, that the alarm is OK. The state of an alarm that is
set by hand changes no health check (trap 26).
"""

import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops.notifications import shown

if TYPE_CHECKING:
    from healthcare_dr.emulator.admin_api import Notification

ALARM: Final = "conflicts"
"""The alarm that is set. No experiment of fault injection stops because of it."""
ARRIVAL_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.1

Client = Callable[[str, str], Any]
"""Returns the client of a service in a region."""


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """A subscriber of a region's topic. An HTTPS address is shown without its secret parts."""

    protocol: str
    address: str
    confirmed: bool


@dataclass(frozen=True, kw_only=True)
class RegionTest:
    """The test of one region.

    Attributes:
        recipients: the subscribers of the region's topic.
        missing: the receivers of the embedded AWS that did not get the notification in time.
        problem: why the region was not tested; empty if it was.
    """

    region: str
    recipients: tuple[Recipient, ...] = ()
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether the notification was sent to a recipient, and to no unconfirmed one."""
        confirmed = bool(self.recipients) and all(recipient.confirmed for recipient in self.recipients)
        return confirmed and not (self.problem or self.missing)

    def document(self) -> dict[str, Any]:
        """Return the JSON document of the test."""
        return {**asdict(self), "passed": self.passed}


def send_tests(client: Client, topics: Mapping[str, str], names: Names) -> tuple[str, list[RegionTest]]:
    """Set the alarm in each region, and return a text that the notifications contain, with the tests.

    `topics` maps regions to the ARNs of their topics.
    """
    reason = f"Test of the notifications by hdr notify, {uuid.uuid4().hex[:8]}: nothing has happened"
    return reason, [_send(client, region, topic, names.of(ALARM), reason) for region, topic in topics.items()]


def await_arrival(
    tests: Sequence[RegionTest],
    *,
    reason: str,
    receivers: Collection[str],
    received: "Callable[[], Sequence[Notification]]",
    seconds: float = ARRIVAL_SECONDS,
) -> list[RegionTest]:
    """Wait until the receivers of the embedded AWS have got the notifications of all tested regions."""
    wanted = {(test.region, name) for test in tests if not test.problem for name in receivers}
    deadline = time.monotonic() + seconds
    while True:
        found = {(each.region, each.receiver) for each in received() if reason in each.text}
        if wanted <= found or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    return [
        replace(test, missing=tuple(sorted(name for region, name in wanted - found if region == test.region)))
        for test in tests
    ]


def _send(client: Client, region: str, topic: str, alarm: str, reason: str) -> RegionTest:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        pages = client("sns", region).get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
        recipients = tuple(_recipient(each) for page in pages for each in page["Subscriptions"])
        cloudwatch = client("cloudwatch", region)
        found = cloudwatch.describe_alarms(AlarmNames=[alarm])["MetricAlarms"]
        if not found:
            problem = f"the alarm {alarm} does not exist: run `hdr deploy`"
        elif found[0]["StateValue"] == "ALARM":
            problem = f"{alarm} fires already, and its recipients are notified of changes only: resolve it first"
        else:
            cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason=reason)
            problem = ""
    except (BotoCoreError, ClientError) as error:
        return RegionTest(region=region, problem=" ".join(str(error).split()))
    return RegionTest(region=region, recipients=recipients, problem=problem)


def _recipient(subscription: Mapping[str, Any]) -> Recipient:
    protocol, address = str(subscription["Protocol"]), str(subscription["Endpoint"])
    return Recipient(
        protocol=protocol,
        address=shown(address) if protocol.startswith("http") else address,
        confirmed=str(subscription["SubscriptionArn"]).startswith("arn:"),
    )


def topics_of(outputs: Mapping[str, str | None]) -> dict[str, str]:
    """Return the topics by region. Raises DeploymentError if one is not deployed."""
    missing = [region for region, topic in outputs.items() if not topic]
    if missing:
        raise DeploymentError(f"{' and '.join(missing)} has no topic: deploy with `hdr deploy` first")
    return {region: str(topic) for region, topic in outputs.items()}
