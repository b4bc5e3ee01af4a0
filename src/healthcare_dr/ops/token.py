"""Access tokens: issued by the embedded issuer, or given by the operator for AWS."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.ports import EmbeddedAws, Target

DEMO_TENANT: Final = "demo-clinic"
DEMO_SUBJECT: Final = "demo-client"
LOAD_SCOPES: Final = ("system/Patient.cruds", "system/DocumentReference.cruds")
"""The scopes that loading data needs."""
DEMO_SCOPES: Final = (*LOAD_SCOPES, "system/AuditEvent.s")
"""The scopes of the whole API."""
LONGEST: Final = timedelta(hours=24)


def issue(
    emulator: EmbeddedAws,
    *,
    tenant: str,
    subject: str,
    scopes: Sequence[str],
    audience: str,
    lifetime: timedelta,
) -> str:
    """Return a token that the embedded issuer signs.

    Raises:
        SettingsError: the API does not accept such a tenant, or the lifetime is not within a day.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", tenant):
        raise SettingsError(f"--tenant {tenant!r} is not allowed: it must be 1 to 64 of A-Z, a-z, 0-9, ., _ and -")
    if not timedelta() < lifetime <= LONGEST:
        raise SettingsError(f"--lifetime {lifetime.total_seconds():.0f} is not allowed: it must be 1 to 86400 seconds")
    return emulator.token(subject=subject, tenant=tenant, scopes=scopes, audience=audience, lifetime=lifetime)


def given_token(target: Target, given: str, *, tenant: str | None, command: str = "hdr seed") -> str:
    """Return the token that the environment gives for AWS, where the operator's own issuer issues tokens.

    `command` is the command that needs it.

    Raises:
        SettingsError: the token is missing or malformed, or the API would reject it.
    """
    if tenant is not None:
        raise SettingsError("--tenant is for the embedded AWS: on AWS the tenant is that of the token in HDR_TOKEN")
    if not target.issuer():
        raise SettingsError(
            f"the APIs require IAM signatures, which `{command}` does not make: set HDR_OIDC_ISSUER, deploy, and put a "
            "token of that issuer into HDR_TOKEN"
        )
    token = given.strip()
    if not token:
        raise SettingsError(
            f"HDR_TOKEN is not set: put a token of {target.issuer()} with the scopes {' '.join(LOAD_SCOPES)} into it"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError("HDR_TOKEN is not a token: it must be one word, as the issuer gave it")
    return token
