"""The token issuer of the embedded AWS: its access tokens, discovery document and public keys.

Any program that can read the key file can sign tokens. No HTTP route issues them.
"""

import time
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from healthcare_dr.errors import EmulatorError

ALGORITHM = "RS256"


def load_key(path: Path) -> RSAKey:
    """Return the signing key, with its RFC 7638 thumbprint as key id.

    Raises:
        EmulatorError: the file does not contain such a key.
    """
    try:
        key = RSAKey.import_key(path.read_bytes(), {"alg": ALGORITHM, "use": "sig"})
    except (ValueError, JoseError) as error:
        raise EmulatorError(
            f"{path} contains no key that signs tokens: stop the embedded AWS with `hdr down --keep`, "
            "remove that file, and start it with `hdr up`"
        ) from error
    key.ensure_kid()
    return key


def sign(
    key: RSAKey,
    *,
    issuer: str,
    subject: str,
    tenant: str,
    tenant_claim: str = "tenant",
    scopes: Sequence[str],
    audience: str,
    lifetime: timedelta,
) -> str:
    """Return a signed token with the claims of RFC 9068 and `tenant_claim`, valid from now on for `lifetime`."""
    now = int(time.time())
    claims = {
        # First, so that a tenant claim cannot replace another claim.
        tenant_claim: tenant,
        "iss": issuer,
        "sub": subject,
        "aud": audience,
        "scope": " ".join(scopes),
        "iat": now,
        "exp": now + int(lifetime.total_seconds()),
        "jti": str(uuid.uuid4()),
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.kid, "typ": "at+jwt"}, claims, key)


def routes(*, address: str, key: RSAKey) -> list[Route]:
    """Return the routes of the issuer at `address`: its configuration (OpenID Connect Discovery 1.0, section 3) and the
    key set that verifies its tokens (RFC 7517), without private parts.
    """
    configuration = {
        "issuer": address,
        "jwks_uri": f"{address}/jwks.json",
        "response_types_supported": ["token"],
        # No route issues tokens: `hdr token` signs them.
        "grant_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    }
    contents = {
        "/.well-known/openid-configuration": configuration,
        "/jwks.json": KeySet([key]).as_dict(private=False),
    }

    async def respond(request: Request) -> JSONResponse:
        return JSONResponse(contents[request.url.path])

    return [Route(path, respond) for path in contents]
