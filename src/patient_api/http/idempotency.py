"""Identify repeated requests by their Idempotency-Key, in either region."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from patient_api.contract.headers import CONTENT_ENCODING, IDEMPOTENCY_KEY
from patient_api.contract.routes import FHIR_BODY
from patient_api.errors import Malformed
from patient_api.http.request import Request

LONGEST_KEY: Final = 255


@dataclass(frozen=True)
class IdempotentRequest:
    """`id` is the id of the record that the first request creates; `fingerprint` identifies the request."""

    id: str
    fingerprint: str


def idempotent_request(request: Request, kind: str, *, blind: Callable[..., str]) -> IdempotentRequest | None:
    """Return the identity of a request to create a resource, None without a key. Raises Malformed, StorageFault."""
    key = request.header(IDEMPOTENCY_KEY)
    if key is None:
        return None
    if not (key.isascii() and key.isprintable() and 0 < len(key) <= LONGEST_KEY):
        raise Malformed(f"{IDEMPOTENCY_KEY} must be 1 to {LONGEST_KEY} printable ASCII characters.")
    caller = request.caller
    # Each tenant and owner has keys of its own, and a key stands for another record of every type.
    name = blind("id", IDEMPOTENCY_KEY, kind, caller.tenant, caller.owner, key)
    fingerprint = hashlib.sha256(_content(request)).hexdigest()
    return IdempotentRequest(str(UUID(hex=name, version=4)), fingerprint)


def _content(request: Request) -> bytes:
    if not request.header(CONTENT_ENCODING):
        return request.body.encode("utf-8", errors="surrogatepass")
    # A gzip stream contains the time of its creation, so the fingerprint is that of its content, in base64.
    return base64.b64encode(request.payload(FHIR_BODY))
