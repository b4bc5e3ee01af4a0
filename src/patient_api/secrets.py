"""Derive secrets that both regions share from the platform's HMAC key, once per container.

The key is a multi-Region key of KMS: the same label gives the same secret in each region
(https://docs.aws.amazon.com/kms/latest/developerguide/hmac.html). No part of it is in the code, the state or a table.
"""

import base64
import hashlib
import hmac
from threading import Lock
from typing import Final

from patient_api.aws import Clients, translated

_INDEX: Final = b"healthcare-dr index v1"
_CURSOR: Final = b"healthcare-dr cursor v1"
BLIND_LENGTH: Final = 32  # hexadecimal digits: 128 bits


class Secrets:
    """Derives secrets. `key` is the id, ARN or alias of the HMAC key. Every method raises StorageFault."""

    def __init__(self, *, clients: Clients, key: str) -> None:
        self._clients = clients
        self._key = key
        self._derived: dict[bytes, bytes] = {}
        self._lock = Lock()

    def blind(self, *parts: str) -> str:
        """Return a pseudonym for `parts` to use in keys.

        It is equal for equal parts, so it shows how often they occur. Without the secret no guess of the parts can be
        compared with it (ADR 15).
        """
        message = "\0".join(parts).encode()
        return hmac.digest(self._secret(_INDEX), message, hashlib.sha256).hex()[:BLIND_LENGTH]

    def sign(self, message: bytes) -> str:
        """Return the signature of a cursor, in URL-safe Base64."""
        digest = hmac.digest(self._secret(_CURSOR), message, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def _secret(self, label: bytes) -> bytes:
        with self._lock:
            if label not in self._derived:
                with translated("GenerateMac"):
                    response = self._clients.macs().generate_mac(
                        KeyId=self._key, Message=label, MacAlgorithm="HMAC_SHA_256"
                    )
                self._derived[label] = response["Mac"]
            return self._derived[label]
