"""The Lambda entry point that confirms documents. The bucket's events and a schedule invoke it."""

import os
from collections.abc import Mapping
from typing import Any, Final

from patient_api import bootstrap


def handler(event: Mapping[str, Any], context: Any) -> None:
    """Confirm the documents that S3 reports, or on `{"sweep": true}` those that are pending."""
    seconds = context.get_remaining_time_in_millis() / 1000
    if event.get("sweep"):
        _worker.sweep(seconds=seconds, request_id=context.aws_request_id)
    else:
        _worker.uploaded(event.get("Records", ()), seconds=seconds, request_id=context.aws_request_id)


_worker: Final = bootstrap.confirmation_worker(os.environ)
