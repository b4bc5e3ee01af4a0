"""A cache of the parsed body of a request, which several functions read."""

import json
from typing import Any

from ministack.core import iam_actions


class Bodies:
    """Replaces the module `json` where ministack parses the same body of a request several times.

    Readers get the same object, which none of them changes.
    """

    def __init__(self) -> None:
        self._last: tuple[object, Any] = (None, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(json, name)

    def loads(self, text: str | bytes) -> Any:
        """As `json.loads`."""
        body, value = self._last
        # The very object, which lives as long as it is kept here: equality would cost a comparison of the bytes.
        if text is body:
            return value
        value = json.loads(text)
        if isinstance(text, bytes):
            self._last = (text, value)
        return value


bodies = Bodies()


def read_each_body_once() -> None:
    """Parse each body once; up to five functions of ministack parse it to authorize and route a request."""
    iam_actions.json = bodies
