"""`hdr cost`: what a month on AWS costs, from the synthesized stacks and stated traffic."""

import math
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from healthcare_dr.cli.common import JsonOption, command, out, report, session
from healthcare_dr.errors import SettingsError


@command
def cost(
    requests: Annotated[float, typer.Option("--requests", min=0, help="Requests a month, in millions.")] = 0.0,
    write_share: Annotated[
        float, typer.Option("--write-share", min=0, max=1, help="Share that changes a record.")
    ] = 0.2,
    documents: Annotated[
        float, typer.Option("--documents", min=0, help="Documents uploaded a month, in thousands.")
    ] = 0.0,
    document_mb: Annotated[float, typer.Option("--document-mb", min=0, help="Mean size of a document in MB.")] = 2.0,
    records_gb: Annotated[float, typer.Option("--records-gb", min=0, help="Size of the tables in one region.")] = 0.0,
    documents_gb: Annotated[
        float, typer.Option("--documents-gb", min=0, help="Size of the bucket in one region.")
    ] = 0.0,
    drills: Annotated[float, typer.Option("--drills", min=0, help="Drills a month against AWS.")] = 0.0,
    prices: Annotated[
        Path | None, typer.Option("--prices", help="YAML file with prices and assumptions that replace the defaults.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a month on AWS costs: without clients, per million requests, and with the stated traffic."""
    # pydantic and the like are slow to import.
    from healthcare_dr.infra.synthesis import Synthesis
    from healthcare_dr.ops.cost import Traffic, estimate, load_prices, print_estimate
    from healthcare_dr.ops.synthesis import synthesize

    amounts = (requests, documents, document_mb, records_gb, documents_gb, drills)
    if not all(map(math.isfinite, (*amounts, write_share))):
        raise SettingsError("an amount is not a finite number: give a number such as 1.5")
    known = load_prices(prices)
    traffic = Traffic(
        requests=requests * 1e6,
        write_share=write_share,
        documents=documents * 1e3,
        document_mb=document_mb,
        records_gb=records_gb,
        documents_gb=documents_gb,
        drills=drills,
    )
    with session() as at_work, tempfile.TemporaryDirectory(prefix="hdr-cost-") as folder:
        at_work.progress.say("Synthesizing the three stacks")
        synthesize(at_work.settings, Path(folder))
        found = estimate(Synthesis(outdir=Path(folder)).documents(), traffic, known)
    if as_json:
        report(found.document())
    else:
        print_estimate(out, found)
