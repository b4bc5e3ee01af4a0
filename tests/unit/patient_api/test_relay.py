"""The relay posts notifications to webhooks, over TLS to a real server, and fails when one does not accept them."""

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Event
from typing import Any

import pytest
import trustme

from patient_api import https
from patient_api.logging import StructuredLog
from patient_api.region.relay import ATTEMPTS, LONGEST_TEXT, Relay, UndeliveredError, post, text_of
from unit.http_server import Request, Response, http_server
from unit.patient_api.fakes.aws import REGION
from unit.patient_api.fakes.log import FakeLog

ALARM = {
    "AlarmName": "healthcare-dr-peer-unhealthy-dev", "NewStateValue": "ALARM", "NewStateReason": "Threshold Crossed",
    "AWSAccountId": "123456789012", "Region": "US East (N. Virginia)",
}  # fmt: skip


def event(message: object) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    return {"Records": [{"EventSource": "aws:sns", "Sns": {"Subject": "s", "Message": text}}]}


Webhooks = tuple[str, list[Request], dict[str, int]]


@pytest.fixture
def webhooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhooks]:
    """A server for webhooks, its requests, and the statuses that it returns by path instead of 200."""
    authority = trustme.CA()
    requests: list[Request] = []
    statuses: dict[str, int] = {}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    monkeypatch.setattr(https, "tls_context", lambda: trusted)

    def respond(request: Request) -> Response:
        requests.append(request)
        return Response(statuses.get(request.path, 200), b"ok")

    with http_server(respond, context) as address:
        yield address, requests, statuses


def relay(*addresses: str, log: FakeLog | None = None, send: Callable[..., int] | None = None) -> Relay:
    return Relay(
        region=REGION,
        addresses=lambda: list(addresses),
        post=send or partial(post, region=REGION),
        log=StructuredLog(service="notification-relay", region=REGION, stream=log or FakeLog()),
        pause=lambda _: None,
    )


@pytest.mark.requirement("R7.2")
def test_alarm_is_posted_to_every_webhook(webhooks: Webhooks) -> None:
    address, requests, _ = webhooks
    relay(f"{address}/one?a=1&b=2", f"{address}")(event(ALARM))
    assert sorted((request.method, request.path) for request in requests) == [("POST", "/"), ("POST", "/one?a=1&b=2")]
    assert requests[0].headers["content-type"] == "application/json"
    assert requests[0].headers["user-agent"] == f"healthcare-dr/{REGION}"
    text = f"ALARM: healthcare-dr-peer-unhealthy-dev in {REGION}\nThreshold Crossed"
    assert [json.loads(request.body) for request in requests] == [{"text": text}] * 2


@pytest.mark.requirement("R7.2", "C5")
@pytest.mark.parametrize("status", [302, 404, 500])
def test_refused_notification_fails_after_the_others_were_posted(webhooks: Webhooks, status: int) -> None:
    address, requests, statuses = webhooks
    statuses["/KEY"], log = status, FakeLog()
    with pytest.raises(UndeliveredError, match="1 of 2 webhooks"):
        relay(f"{address}/KEY", f"{address}/other", log=log)(event(ALARM))
    assert sorted(request.path for request in requests) == ["/KEY"] * ATTEMPTS + ["/other"]
    assert log.messages()[0] | {"number": 1, "reason": f"status {status}"} == log.messages()[0]
    assert "KEY" not in log.getvalue()


@pytest.mark.requirement("C5")
def test_webhook_that_does_not_respond_fails() -> None:
    def send(address: str, content: Mapping[str, str]) -> int:
        del address, content
        raise TimeoutError("https://hooks.example/KEY")

    log = FakeLog()
    with pytest.raises(UndeliveredError) as caught:
        relay("https://hooks.example/KEY", log=log, send=send)(event(ALARM))
    assert "KEY" not in f"{caught.value}{log.getvalue()}"
    assert "TimeoutError" in log.getvalue()


@pytest.mark.requirement("R7.2", "C5")
def test_webhook_that_does_not_respond_delays_no_other() -> None:
    others, arrived = 4, Event()
    received: list[str] = []

    def send(address: str, content: Mapping[str, str]) -> int:
        del content
        if address.endswith("/slow"):
            assert arrived.wait(timeout=10), "the webhooks after a slow one got nothing"
            return 200
        received.append(address)
        if len(received) == others:
            arrived.set()
        return 200

    addresses = ["https://hooks.example/slow", *(f"https://hooks.example/{number}" for number in range(others))]
    relay(*addresses, send=send)(event(ALARM))
    assert sorted(received) == addresses[1:]


@pytest.mark.requirement("R7.2", "C5")
@pytest.mark.parametrize("invalid", ["https://127.0.0.1:99999/KEY", "https://127.0.0.1:KEY/", "https://[KEY/"])
def test_invalid_address_fails_alone(webhooks: Webhooks, invalid: str) -> None:
    address, requests, _ = webhooks
    log = FakeLog()
    with pytest.raises(UndeliveredError, match="1 of 2 webhooks"):
        relay(invalid, f"{address}/other", log=log)(event(ALARM))
    assert [request.path for request in requests] == ["/other"]
    assert "KEY" not in log.getvalue()


@pytest.mark.requirement("R7.2")
def test_untrusted_certificate_is_refused(webhooks: Webhooks, monkeypatch: Any) -> None:
    address, requests, _ = webhooks
    monkeypatch.setattr(https, "tls_context", ssl.create_default_context)
    with pytest.raises(UndeliveredError):
        relay(f"{address}/x")(event(ALARM))
    assert requests == []


@pytest.mark.trap(42)
@pytest.mark.parametrize(
    "message", ["Jane Doe", '{"Records": [{"s3": {"object": {"key": "Jane Doe"}}}]}', '["Jane Doe"]', '"Jane"', "{}"]
)
def test_other_notifications_are_not_forwarded(message: str) -> None:
    text = text_of({"Message": message, "Subject": "Jane Doe"}, REGION)
    assert REGION in text
    assert "Jane" not in text


def test_long_reason_is_cut() -> None:
    assert len(text_of({"Message": json.dumps(ALARM | {"NewStateReason": "x" * 5000})}, REGION)) == LONGEST_TEXT
