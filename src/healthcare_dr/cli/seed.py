"""`hdr token` and `hdr seed`: the platform as its callers meet it."""

import os
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from healthcare_dr.cli.common import JsonOption, TargetName, TargetOption, out, report, session
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.seed import Plan, Seeding, embedded_token, given_token, print_seeded, regions_of
from healthcare_dr.ops.token import DEMO_SCOPES, DEMO_SUBJECT, DEMO_TENANT, issue
from healthcare_dr.settings import TOKEN_VARIABLE, load_settings


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


def seed(
    patients: Annotated[int, typer.Option(min=1, max=10_000_000, help="Number of patients.")] = 100,
    documents: Annotated[int, typer.Option(min=0, max=1000, help="Number of documents per patient.")] = 1,
    tenant: Annotated[
        str | None, typer.Option(help=f"Whose they are: {DEMO_TENANT} on the embedded AWS, the token's on AWS.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same number makes the same patients, and none twice.")] = 1,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Calls at a time.")] = 8,
    target: TargetOption = TargetName.EMBEDDED,
    as_json: JsonOption = False,
) -> None:
    """Load fictitious patients and documents through the API of both regions.

    On AWS the calls carry the token in HDR_TOKEN; APIs that take IAM signatures only cannot be seeded.
    """
    # A secret: no setting, nothing for the command line, and nothing for other programs either.
    given = os.environ.pop(TOKEN_VARIABLE, "")
    with session() as at_work:
        settings, chosen = at_work.settings, bootstrap.target_of(at_work.settings, target)
        if target is TargetName.AWS:
            bearer = given_token(chosen, given, tenant=tenant)
        else:
            bearer = embedded_token(bootstrap.emulator_of(settings), tenant=tenant, audience=settings.oidc_audience)
        chosen.preflight()
        done = Seeding(
            regions=regions_of(bootstrap.status_of(settings, chosen), settings),
            token=bearer,
            ca_bundle=chosen.ca_bundle(),
            progress=at_work.progress,
        ).run(Plan(patients=patients, documents=documents, seed=seed, concurrency=concurrency))
    if as_json:
        report(asdict(done) | {"target": target.value})
    else:
        print_seeded(out, done, target=target.value)
