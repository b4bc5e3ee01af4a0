"""`hdr token` and `hdr seed`."""

import os
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, command, print_plain, report, session
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.seed.load import Plan, Seeding, SeedResult, serving_regions
from healthcare_dr.ops.token import DEMO_SCOPES, DEMO_SUBJECT, DEMO_TENANT, LOAD_SCOPES, LONGEST, given_token, issue
from healthcare_dr.settings import TOKEN_VARIABLE, load_settings


@command
def token(
    tenant: Annotated[str, typer.Option(help="The tenant whose records it grants.")] = DEMO_TENANT,
    subject: Annotated[str, typer.Option(help="The subject of the token.")] = DEMO_SUBJECT,
    scope: Annotated[list[str] | None, typer.Option(help="A SMART scope; may be given again.")] = None,
    lifetime: Annotated[int, typer.Option(min=1, max=86400, help="Seconds until it expires.")] = 3600,
) -> None:
    """Print a token of the embedded issuer, and nothing else. It grants the whole API unless --scope restricts it."""
    settings = load_settings()
    typer.echo(
        issue(
            bootstrap.emulator_of(settings),
            tenant=tenant,
            subject=subject,
            scopes=scope or list(DEMO_SCOPES),
            audience=settings.oidc_audience,
            lifetime=timedelta(seconds=lifetime),
        )
    )


@command
def seed(
    patients: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of patients.")] = 100,
    documents: Annotated[int, typer.Option(min=0, max=1000, help="Number of documents per patient.")] = 1,
    tenant: Annotated[
        str | None, typer.Option(help=f"The tenant, by default {DEMO_TENANT}. On AWS it is the token's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same number creates the same patients, and none twice.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="The number of concurrent requests.")] = 8,
    target: TargetOption = TargetName.EMBEDDED,
    as_json: JsonOption = False,
) -> None:
    """Load fictitious patients and documents through the API of both regions.

    On AWS the requests use the token in HDR_TOKEN; APIs that require IAM signatures cannot be seeded.
    """
    # The token is a secret: it is neither a setting nor an argument, and child processes do not inherit it.
    given = os.environ.pop(TOKEN_VARIABLE, "")
    with session() as at_work:
        settings, chosen = at_work.settings, bootstrap.target_of(at_work.settings, target)
        if target is TargetName.AWS:
            bearer = given_token(chosen, given, tenant=tenant)
        else:
            bearer = issue(
                bootstrap.emulator_of(settings),
                tenant=DEMO_TENANT if tenant is None else tenant,
                subject=DEMO_SUBJECT,
                scopes=LOAD_SCOPES,
                audience=settings.oidc_audience,
                lifetime=LONGEST,
            )
        chosen.preflight()
        done = Seeding(
            regions=serving_regions(bootstrap.status_of(settings, chosen), settings),
            token=bearer,
            ca_bundle=chosen.ca_bundle(),
            progress=at_work.progress,
        ).run(Plan(patients=patients, documents=documents, seed=seed, concurrency=concurrency))
    if as_json:
        report(asdict(done) | {"target": target.value})
    else:
        print_seeded(done, target)


def print_seeded(seeded: SeedResult, target: TargetName) -> None:
    """Print the result of a load and its rate."""
    label = " (embedded)" if target is TargetName.EMBEDDED else ""
    shares = ", ".join(f"{region} {number}" for region, number in seeded.regions.items())
    for line in (
        f"{seeded.patients} patients and {seeded.documents} documents ({seeded.document_bytes / 1000:.1f} kB) "
        f"in {seeded.seconds:.1f} s",
        f"{seeded.patients_per_second:.1f} patients and {seeded.documents_per_second:.1f} documents a second{label}",
        f"{shares}; {seeded.retries} calls repeated",
    ):
        print_plain(line)
