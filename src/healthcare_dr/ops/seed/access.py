"""The regions and the token that loading data needs."""

from datetime import timedelta

from rich.console import Console

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.ports import EmbeddedAws, Target
from healthcare_dr.ops.seed.load import Region, SeedResult
from healthcare_dr.ops.status import Status
from healthcare_dr.ops.token import DEMO_SUBJECT, DEMO_TENANT, issue
from healthcare_dr.settings import Settings

SCOPES = ("system/Patient.cruds", "system/DocumentReference.cruds")
LIFETIME = timedelta(hours=24)


def embedded_token(emulator: EmbeddedAws, *, tenant: str | None, audience: str) -> str:
    """A token of the embedded issuer for a day's load.

    Raises:
        SettingsError: the tenant is not one the API would take.
    """
    return issue(
        emulator,
        tenant=DEMO_TENANT if tenant is None else tenant,
        subject=DEMO_SUBJECT,
        scopes=SCOPES,
        audience=audience,
        lifetime=LIFETIME,
    )


def given_token(target: Target, given: str, *, tenant: str | None, command: str = "hdr seed") -> str:
    """Return the token in the environment, for AWS, where the operator's own issuer issues tokens.

    `command` is the command that needs it.

    Raises:
        SettingsError: it is missing, malformed or would be rejected.
    """
    if tenant is not None:
        raise SettingsError("--tenant is for the embedded AWS: on AWS the tenant is that of the token in HDR_TOKEN")
    if not target.issuer():
        raise SettingsError(
            f"the APIs demand IAM signatures, which `{command}` does not make: set HDR_OIDC_ISSUER, deploy, and put a "
            "token of that issuer into HDR_TOKEN"
        )
    token = given.strip()
    if not token:
        raise SettingsError(
            f"HDR_TOKEN is not set: put a token of {target.issuer()} with the scopes {' '.join(SCOPES)} into it"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError("HDR_TOKEN is not a token: it must be one word, as the issuer gave it")
    return token


def regions_of(status: Status, settings: Settings) -> tuple[Region, ...]:
    """The regions that serve, with their weights: those of DNS, else those of the settings.

    Raises:
        DeploymentError: no region serves.
    """
    configured = (settings.primary_weight, settings.secondary_weight)
    serving = tuple(
        Region(region.region, region.endpoint, weight if region.weight is None else region.weight)
        for region, weight in zip(status.regions, configured, strict=True)
        if region.endpoint is not None and region.health == "healthy" and region.drain != "draining"
    )
    if not serving:
        found = ", ".join(f"{region.region} is {region.health}" for region in status.regions)
        raise DeploymentError(f"no region serves ({found}): see `hdr status`, or begin with `hdr up`")
    return serving


def print_seeded(console: Console, seeded: SeedResult, *, target: str) -> None:
    """Print the result of a load and its rate."""
    label = " (embedded)" if target == "embedded" else ""
    shares = ", ".join(f"{region} {number}" for region, number in seeded.regions.items())
    for line in (
        f"{seeded.patients} patients and {seeded.documents} documents ({seeded.document_bytes / 1000:.1f} kB) "
        f"in {seeded.seconds:.1f} s",
        f"{seeded.patients_per_second:.1f} patients and {seeded.documents_per_second:.1f} documents a second{label}",
        f"{shares}; {seeded.retries} calls repeated",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
