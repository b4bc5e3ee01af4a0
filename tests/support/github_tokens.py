"""Identity tokens with the claims of GitHub's, for the embedded AWS, which does not verify their signatures."""

import base64
import json
from typing import Final

ISSUER: Final = "token.actions.githubusercontent.com"
REPOSITORY: Final = "octo-org/healthcare"
SUBJECTS: Final = {"plan": "pull_request", "deploy": "environment:production", "verify": "ref:refs/heads/main"}
"""The last part of the subject of each role's tokens."""


def subject_of(role: str) -> str:
    """Return the subject of the tokens of a role."""
    return f"repo:{REPOSITORY}:{SUBJECTS[role]}"


def token(subject: str, audience: str = "sts.amazonaws.com") -> str:
    """Return a token of one subject."""
    claims = {"iss": f"https://{ISSUER}", "aud": audience, "sub": subject}
    parts = ({"alg": "RS256"}, claims, "signature")
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts)
