"""The Lambda entry point of the API. Composes the API once per container, from the environment."""

import gc
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patient_api.http.dispatcher import Dispatcher


def _compose() -> "Dispatcher":
    # Objects made by imports and composition live as long as the container. Collecting among them takes a tenth of
    # the cold start.
    gc.disable()
    try:
        from patient_api.bootstrap import api_services
        from patient_api.handlers.responders import dispatcher

        return dispatcher(api_services(os.environ))
    finally:
        gc.freeze()
        gc.enable()


_api = _compose()


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Return the response to one request of the HTTP API, in payload format 2.0."""
    return _api(event, context)
