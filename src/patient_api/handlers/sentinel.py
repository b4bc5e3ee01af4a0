"""The Lambda entry point of the sentinel, which a schedule invokes every minute."""

import os
from functools import cache
from typing import TYPE_CHECKING

from patient_api import bootstrap

if TYPE_CHECKING:
    from patient_api.region.sentinel import Sentinel


@cache
def _sentinel() -> "Sentinel":
    return bootstrap.sentinel(os.environ)


def handler(event: object, context: object) -> None:  # noqa: ARG001 - Lambda's signature
    """Write the heartbeat, and check the peer region once."""
    _sentinel()()
