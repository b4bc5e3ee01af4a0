"""The Lambda entry point for the streams of both tables."""

import os
from collections.abc import Mapping
from typing import Any, Final

from patient_api import bootstrap


def handler(event: Mapping[str, Any], context: object) -> dict[str, list[dict[str, str]]]:  # noqa: ARG001 - Lambda's signature
    """Process one batch of a stream. Returns the items that failed."""
    return _process(event)


_process: Final = bootstrap.stream_processor(os.environ)
