"""Identify the caller of a request, and what its token grants.

API Gateway checks a token's signature, issuer, audience and expiry. What the token grants is decided here, by the
SMART on FHIR grammar of scopes (https://hl7.org/fhir/smart-app-launch/scopes-and-launch-context.html): of version 2
(`system/Patient.cru`, `user/*.rs`), and of version 1 (`system/*.read`, `user/Patient.*`), mapped as the guide maps it.
A scope narrowed by a query grants nothing, because queries are not enforced. Nor does a scope of the context
`patient/`, which requires a patient chosen at launch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

UNKNOWN: Final = "$unknown"  # no tenant can have this name
TENANT_CLAIM: Final = "tenant"

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
_SESSION: Final = re.compile(r"(arn:[^:/]+:sts::[^:/]*:assumed-role/[^/]+)/[^/]+")
_TENANT: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Version 2 allows the letters in this order only.
_SCOPE: Final = re.compile(r"(?:system|user)/([A-Z][A-Za-z]*|\*)\.(read|write|\*|(?=[cruds])c?r?u?d?s?)")
_VERSION_1: Final[Mapping[str, str]] = {"read": "rs", "write": "cud", "*": "cruds"}
# `scope` is RFC 9068's name; Okta and Entra call it `scp`. API Gateway reads both.
_SCOPE_CLAIMS: Final = ("scope", "scp")


@dataclass(frozen=True)
class Caller:
    """The client of a request.

    Attributes:
        subject: of the token, or the ARN of the IAM identity, which contains the session of an assumed role.
        grants: pairs of a resource type (or `*`) and a letter out of `cruds`.
        role: the ARN of the assumed role without its session, None for other callers.
    """

    tenant: str
    subject: str
    grants: frozenset[tuple[str, str]]
    authenticated: bool = True
    role: str | None = None

    @property
    def owner(self) -> str:
        """The identity that idempotency keys belong to. All sessions of a role share it, and so their keys."""
        return self.role or self.subject

    def may(self, interaction: str, resource: str) -> bool:
        """Return whether the caller may do `interaction`, one letter of `cruds`, to resources of this type."""
        return not self.grants.isdisjoint({(resource, interaction), ("*", interaction)})


_ANONYMOUS: Final = Caller(UNKNOWN, UNKNOWN, frozenset(), authenticated=False)


def identify(authorizer: Mapping[str, Any], *, tenant_claim: str = TENANT_CLAIM) -> Caller:
    """Return the caller in an HTTP API's `requestContext.authorizer`, the only source of tenant and subject.

    Without an authorizer the caller is not authenticated. A caller whose claims are missing or malformed is
    authenticated and has no rights.
    """
    jwt, iam = authorizer.get("jwt"), authorizer.get("iam")
    if jwt:
        claims = jwt.get("claims") or {}
        return _caller(claims.get(tenant_claim), claims.get("sub"), frozenset(_grants(claims)))
    if iam:
        # API Gateway has checked the caller's IAM policy for this route.
        rights = frozenset(("*", letter) for letter in "cruds")
        caller = _caller(f"iam-{iam.get('accountId')}", iam.get("userArn"), rights)
        session = _SESSION.fullmatch(caller.subject)
        return replace(caller, role=session[1]) if session else caller
    return _ANONYMOUS


def _caller(tenant: object, subject: object, grants: frozenset[tuple[str, str]]) -> Caller:
    if not isinstance(subject, str) or not subject:
        return Caller(UNKNOWN, UNKNOWN, frozenset())
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        return Caller(UNKNOWN, subject, frozenset())
    return Caller(tenant, subject, grants)


def _grants(claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _SCOPE_CLAIMS:
        for scope in _scopes(claims.get(name)):
            if match := _SCOPE.fullmatch(scope):
                letters = _VERSION_1.get(match[2], match[2])
                yield from ((match[1], letter) for letter in letters)


def _scopes(claim: object) -> Sequence[str]:
    """Return the scopes of a claim: a string of them, or an array, which HTTP APIs pass as `[a b]`."""
    if isinstance(claim, list):
        return [scope for part in claim if isinstance(part, str) for scope in part.split()]
    if not isinstance(claim, str):
        return ()
    if claim.startswith("[") and claim.endswith("]"):
        claim = claim[1:-1]
    return claim.split()
