"""Where a page ends and the next begins: opaque to the caller, signed, and of use for a while only."""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Sequence
from typing import Final

from patient_api.errors import Malformed
from patient_api.secrets import Secrets

LIFETIME_SECONDS: Final = 3600
LONGEST: Final = 2048


class Cursors:
    """Both regions sign with the same secret: a page asked for in one goes on in the other."""

    def __init__(self, *, secrets: Secrets, now: Callable[[], float] = time.time) -> None:
        self._secrets = secrets
        self._now = now

    def seal(self, *scope: str, position: Sequence[str]) -> str:
        """A cursor for a position within `scope`: the tenant, the interaction, and the search as it was asked."""
        content = json.dumps([int(self._now()) + LIFETIME_SECONDS, list(position)], separators=(",", ":")).encode()
        # The position may be an identifier of a record, never what was searched for: that the caller repeats.
        return f"{_text(content)}.{self._signature(content, scope)}"

    def open(self, cursor: str, *scope: str) -> list[str]:
        """The position in a cursor. Raises Malformed when it is forged, expired, or of another scope."""
        if len(cursor) > LONGEST:
            raise Malformed("The cursor is not one of this server.")
        body, _, signature = cursor.partition(".")
        try:
            content = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            genuine = hmac.compare_digest(self._signature(content, scope), signature)
        except (binascii.Error, ValueError, TypeError):
            genuine = False
        if not genuine:
            raise Malformed("The cursor is not one of this server, or belongs to another search.")
        expires, position = json.loads(content)
        if self._now() > expires:
            raise Malformed("The cursor has expired: search again.")
        return [str(part) for part in position]

    def _signature(self, content: bytes, scope: Sequence[str]) -> str:
        # The scope's parts are counted, so that no part can pass for two.
        bound = json.dumps(list(scope)).encode()
        return self._secrets.sign(bound + b"\0" + content)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
