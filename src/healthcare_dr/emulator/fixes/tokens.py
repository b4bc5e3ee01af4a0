"""API Gateway: a cache of verified token signatures."""

import hashlib
from collections import OrderedDict
from typing import Any

from ministack.services import apigateway

# A client has one token at a time, and a load's clients share one; each entry is some 200 bytes.
SIGNATURES = 4096


def cache_verified_signatures() -> None:
    """Cache verified RSA signatures of bearer tokens.

    Only that is remembered: whether a token's bytes are signed by a key. Its times, issuer, audience and scopes, and
    which keys the issuer has, are looked at for every request. What is not signed rightly is not remembered.
    """
    inner = apigateway._verify_rs256_signature
    verified: OrderedDict[tuple[bytes, str, str], None] = OrderedDict()

    def verify(token: str, jwk: dict[str, Any]) -> bool:
        entry = (hashlib.sha256(token.encode()).digest(), str(jwk.get("n")), str(jwk.get("e")))
        if entry in verified:
            verified.move_to_end(entry)
            return True
        if not inner(token, jwk):
            return False
        verified[entry] = None
        if len(verified) > SIGNATURES:
            verified.popitem(last=False)
        return True

    apigateway._verify_rs256_signature = verify
