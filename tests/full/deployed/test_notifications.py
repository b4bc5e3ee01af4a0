"""Alarms reach HTTPS endpoints in both regions, by a deployment of the setting, and its removal leaves nothing."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.platform import REGIONS, Deployed, eventually

KEYS = "integration-key-1", "integration-key-2", "integration-key-3"
ENDPOINTS = {
    "HDR_OPERATIONS_ENDPOINTS": f"https://events.example.com/{KEYS[0]}?a=1&b=2, https://pager.example.com/?k={KEYS[1]}",
    "HDR_OPERATIONS_WEBHOOKS": f"https://hooks.example.com/services/{KEYS[2]}",
}
RECEIVERS = ("endpoint-0", "endpoint-1", "webhook-0")


@pytest.fixture(scope="module")
def paged(deployed: Deployed) -> Iterator[Deployed]:
    """The platform with two endpoints."""
    finished = deployed.hdr("deploy", **ENDPOINTS)
    assert finished.returncode == 0, finished.stderr
    try:
        yield deployed
    finally:
        finished = deployed.hdr("deploy")
        assert finished.returncode == 0, finished.stderr
        for region in REGIONS:
            assert not deployed.client("sqs", region).list_queues().get("QueueUrls")


def notified(deployed: Deployed) -> Any:
    finished = deployed.hdr("notify", "--json", **ENDPOINTS)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.requirement("R7.1", "R7.2")
def test_alarm_of_each_region_reaches_every_endpoint(paged: Deployed) -> None:
    sent = notified(paged)
    assert [region["region"] for region in sent["regions"]] == list(REGIONS)
    received = [each for each in paged.emulator.notifications() if sent["reason"] in each.text]
    arrived = {(each.region, each.receiver) for each in received if "ALARM" in each.text}
    assert arrived == {(region, name) for region in REGIONS for name in RECEIVERS}


@pytest.mark.requirement("R7.2")
def test_endpoints_are_ready_and_converge(paged: Deployed) -> None:
    verified = paged.hdr("verify", "--only", "topic", "--only", "undelivered", "--only", "webhooks", **ENDPOINTS)
    assert verified.returncode == 0, verified.stdout
    planned = paged.hdr("plan", "--json", **ENDPOINTS)
    assert planned.returncode == 0, planned.stderr
    assert not any(plan["pending"] for plan in json.loads(planned.stdout).values())


@pytest.mark.requirement("R7.2", "C4")
def test_parameter_with_other_webhooks_is_reported(paged: Deployed) -> None:
    ssm, name = paged.client("ssm", REGIONS[1]), paged.names.of("webhooks")
    before = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    ssm.put_parameter(Name=name, Value="https://127.0.0.1/other", Type="SecureString", Overwrite=True)
    try:
        verified = paged.hdr("verify", "--only", "webhooks", "--json", **ENDPOINTS)
    finally:
        ssm.put_parameter(Name=name, Value=before, Type="SecureString", Overwrite=True)
    assert verified.returncode == 1
    assert "does not contain the 1 webhooks" in verified.stdout
    assert "127.0.0.1" not in verified.stdout


@pytest.mark.requirement("R7.2", "C6")
def test_addresses_of_the_settings_are_nowhere_on_this_machine(paged: Deployed) -> None:
    """The embedded AWS replaces them, so not even the state contains them."""
    holding = [
        file
        for file in paged.home.rglob("*")
        if file.is_file() and any(key.encode() in file.read_bytes() for key in KEYS)
    ]
    assert holding == []


@pytest.mark.requirement("R7.2", "C5")
def test_endpoint_that_was_removed_is_reported(paged: Deployed) -> None:
    sns, region = paged.client("sns"), REGIONS[0]
    topic = paged.outputs()["PrimaryTopicArn"]
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    removed = next(each for each in subscriptions if each["Protocol"] == "https")
    sns.unsubscribe(SubscriptionArn=removed["SubscriptionArn"])
    verified = paged.hdr("verify", "--only", "topic", **ENDPOINTS)
    assert verified.returncode == 1
    assert region in verified.stdout
    assert paged.hdr("deploy", **ENDPOINTS).returncode == 0
    eventually(lambda: paged.hdr("verify", "--only", "topic", **ENDPOINTS).returncode == 0)
