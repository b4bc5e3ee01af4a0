"""Post the notifications of the region's topic to webhooks of chat services, which cannot subscribe to SNS themselves.

The addresses are secrets, read from an encrypted parameter for each notification, so that a changed one applies at
once. A message contains the name of the alarm, its state and CloudWatch's reason. Other publishers put keys of objects
and payloads of functions into the topic, which are not forwarded.
"""

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

from patient_api import https
from patient_api.logging import StructuredLog

CONNECT_SECONDS: Final = 3.0
RESPONSE_SECONDS: Final = 4.0
ATTEMPTS: Final = 2
PAUSE_SECONDS: Final = 1.0
LONGEST_TEXT: Final = 1000


class UndeliveredError(Exception):
    """A webhook did not accept a notification. Lambda repeats the call, and then keeps the notification."""


class Relay:
    """Posts notifications to all webhooks. `addresses` reads them, and `post` returns a status or raises an error.

    `post` raises OSError, HTTPException, or ValueError for an invalid address. It is called in several threads.
    """

    def __init__(
        self,
        *,
        region: str,
        addresses: Callable[[], list[str]],
        post: Callable[[str, Mapping[str, str]], int],
        log: StructuredLog,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._region = region
        self._addresses = addresses
        self._post = post
        self._log = log
        self._pause = pause

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Post each notification of an event of SNS to all webhooks at the same time.

        The limit of a connection applies to each address of a host, so that one webhook would delay the next ones.

        Raises:
            UndeliveredError: a webhook did not accept it. The others did; a repetition reaches them again.
        """
        addresses = self._addresses()
        failed = 0
        for record in event["Records"]:
            content = {"text": text_of(record["Sns"], self._region)}
            with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as pool:
                reasons = list(pool.map(partial(self._send, content=content), addresses))
            for number, reason in enumerate(reasons, start=1):
                if reason:
                    failed += 1
                    self._log.error("webhook", number=number, reason=reason)
        self._log.info("notification", webhooks=len(addresses), failed=failed)
        if failed:
            raise UndeliveredError(f"{failed} of {len(addresses)} webhooks did not accept the notification")

    def _send(self, address: str, content: Mapping[str, str]) -> str:
        """Return why the last attempt failed, without the address; empty if one succeeded."""
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                self._pause(PAUSE_SECONDS)
            try:
                status = self._post(address, content)
            except (OSError, HTTPException, ValueError) as error:
                # A changed parameter can contain an invalid port or host name, which raises ValueError.
                reason = type(error).__name__
                continue
            if status < HTTPStatus.MULTIPLE_CHOICES:
                return ""
            reason = f"status {status}"
        return reason


def text_of(notification: Mapping[str, Any], region: str) -> str:
    """Return the text of a message: the alarm with its state, or a hint at the region for any other notification."""
    try:
        alarm = json.loads(notification["Message"])
        name, state, reason = (str(alarm[key]) for key in ("AlarmName", "NewStateValue", "NewStateReason"))
    except (KeyError, TypeError, ValueError):
        return f"A notification of {region} that is not an alarm: e-mail subscribers and the logs have its content"
    return f"{state}: {name} in {region}\n{reason}"[:LONGEST_TEXT]


def post(address: str, content: Mapping[str, str], *, region: str) -> int:
    """Post JSON to an https address. Redirections are not followed. Raises OSError, HTTPException, ValueError."""
    parts = urlsplit(address)
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    status, _ = https.request(
        "POST",
        str(parts.hostname),
        path,
        port=parts.port,
        body=json.dumps(content).encode(),
        headers={"Content-Type": "application/json", "User-Agent": f"healthcare-dr/{region}"},
        connect_seconds=CONNECT_SECONDS,
        response_seconds=RESPONSE_SECONDS,
    )
    return status
