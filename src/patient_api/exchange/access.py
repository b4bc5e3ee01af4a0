"""Who calls, and what API Gateway's authorizer has vouched that they may do.

Scopes are those of SMART on FHIR v2 (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html):
`system/Patient.cru`, `user/*.rs`. A scope narrowed by a query grants nothing here, since only part of it could be kept.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

UNKNOWN: Final = "$unknown"  # no tenant can have this name

_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SCOPE: Final = re.compile(r"(?:system|user)/([A-Z][A-Za-z]*|\*)\.([cruds]+)")


@dataclass(frozen=True)
class Caller:
    """A tenant's subject. `grants` holds pairs of a resource type (or `*`) and a letter out of `cruds`."""

    tenant: str
    subject: str
    grants: frozenset[tuple[str, str]]
    authenticated: bool = True

    def may(self, interaction: str, resource: str) -> bool:
        """Whether the caller may do `interaction`, one letter of `cruds`, to resources of this type."""
        return not self.grants.isdisjoint({(resource, interaction), ("*", interaction)})


_NOBODY: Final = Caller(UNKNOWN, UNKNOWN, frozenset(), authenticated=False)


def identify(authorizer: Mapping[str, Any]) -> Caller:
    """The caller in an HTTP API's `requestContext.authorizer`; tenant and subject come from nowhere else.

    Without an authorizer the caller is not authenticated; with claims that are missing or out of form they are known,
    but have no rights.
    """
    jwt, iam = authorizer.get("jwt"), authorizer.get("iam")
    if jwt:
        claims = jwt.get("claims") or {}
        return _caller(claims.get("tenant"), claims.get("sub"), _grants(claims.get("scope")))
    if iam:
        # The caller's IAM policy has already allowed this very route.
        rights = frozenset(("*", letter) for letter in "cruds")
        return _caller(f"iam-{iam.get('accountId')}", iam.get("userArn"), rights)
    return _NOBODY


def _caller(tenant: object, subject: object, grants: frozenset[tuple[str, str]]) -> Caller:
    if not isinstance(subject, str) or not subject:
        return Caller(UNKNOWN, UNKNOWN, frozenset())
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        return Caller(UNKNOWN, subject, frozenset())
    return Caller(tenant, subject, grants)


def _grants(scope: object) -> frozenset[tuple[str, str]]:
    found = (_SCOPE.fullmatch(word) for word in scope.split()) if isinstance(scope, str) else ()
    return frozenset((match[1], letter) for match in found if match for letter in match[2])
