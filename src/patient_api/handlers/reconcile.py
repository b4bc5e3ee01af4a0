"""The Lambda entry point for the streams of both tables."""

import os
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from patient_api import bootstrap

if TYPE_CHECKING:
    from patient_api.store.stream import Response, StreamProcessor


@cache
def _processor() -> "StreamProcessor":
    return bootstrap.stream_processor(os.environ)


def handler(event: Mapping[str, Any], context: object) -> "Response":  # noqa: ARG001 - Lambda's signature
    """Process one batch of a stream. Returns the items that failed."""
    return _processor()(event)
