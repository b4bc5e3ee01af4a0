"""The Lambda entry point of the API. Builds the API once per container, from the environment."""

import gc
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patient_api.http.dispatcher import Dispatcher


def _start() -> "Dispatcher":
    # What imports and wiring make stays for good: looking for garbage among it costs a tenth of the cold start.
    gc.disable()
    try:
        from patient_api.bootstrap import wire

        return wire(os.environ)
    finally:
        gc.freeze()
        gc.enable()


_api = _start()


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Answer one call of the HTTP API."""
    return _api(event, context)
