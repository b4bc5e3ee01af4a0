"""The Lambda entry point of the sentinel, which a schedule invokes every minute."""

import os
from typing import Final

from patient_api import bootstrap


def handler(event: object, context: object) -> None:  # noqa: ARG001 - Lambda's signature
    """Write the heartbeat, and check the peer region once."""
    _sentinel()


_sentinel: Final = bootstrap.sentinel(os.environ)
