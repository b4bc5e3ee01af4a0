"""Tokens of the embedded issuer, for trying the API by hand."""

import re
from collections.abc import Sequence
from datetime import timedelta

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.ports import EmbeddedAws

DEMO_TENANT = "demo-clinic"
DEMO_SUBJECT = "demo-client"
# The whole API.
DEMO_SCOPES = ("system/Patient.cruds", "system/DocumentReference.cruds", "system/AuditEvent.s")
LONGEST = timedelta(hours=24)


def issue(
    emulator: EmbeddedAws,
    *,
    tenant: str,
    subject: str,
    scopes: Sequence[str],
    audience: str,
    lifetime: timedelta,
) -> str:
    """A signed token.

    Raises:
        SettingsError: the tenant is not one the API would take, or the lifetime is not within a day.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", tenant):
        raise SettingsError(f"--tenant {tenant!r} is not allowed: it must be 1 to 64 of A-Z, a-z, 0-9, ., _ and -")
    if not timedelta() < lifetime <= LONGEST:
        raise SettingsError(f"--lifetime {lifetime.total_seconds():.0f} is not allowed: it must be 1 to 86400 seconds")
    return emulator.token(subject=subject, tenant=tenant, scopes=scopes, audience=audience, lifetime=lifetime)
