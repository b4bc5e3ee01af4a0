"""The Lambda entry point of the relay, which SNS invokes for each notification of the region's topic."""

import os
from collections.abc import Mapping
from typing import Any, Final

from patient_api import bootstrap


def handler(event: Mapping[str, Any], context: object) -> None:  # noqa: ARG001 - Lambda's signature
    """Post the notification to the webhooks."""
    _relay(event)


_relay: Final = bootstrap.notification_relay(os.environ)
