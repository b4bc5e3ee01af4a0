"""API Gateway: the JWT authorizer of HTTP APIs, and a cache of verified token signatures."""

import hashlib
from collections import OrderedDict
from http import HTTPStatus
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


def refuse_malformed_tokens() -> None:
    """A token whose header is not an object, or whose times are not numbers, caused 500. AWS responds with 401 as for
    every invalid token, and `WWW-Authenticate` names the error (RFC 6750, section 3).
    """
    inner = apigateway._validate_jwt_authorizer

    async def validate(
        route: dict[str, Any], authorizer: dict[str, Any], headers: dict[str, str], query: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        try:
            claims, scopes, refusal = await inner(route, authorizer, headers, query)
        except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
            claims, scopes, refusal = None, None, apigateway._jwt_unauthorized()
        if refusal is not None and refusal[0] == HTTPStatus.UNAUTHORIZED:
            sent = apigateway._extract_token_from_identity_source(authorizer.get("identitySource", []), headers, query)
            refusal[1]["WWW-Authenticate"] = 'Bearer error="invalid_token"' if sent else "Bearer"
        return claims, scopes, refusal

    apigateway._validate_jwt_authorizer = validate
