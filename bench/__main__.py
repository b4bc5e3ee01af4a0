"""`python -m bench`: run the benchmarks, write the results as JSON, and print a table."""

import json
import os
import platform
import signal
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from bench import capacity, cold_start, deployed, embedded, synthesis, warm
from bench.model import SCHEMA, Measurement, Say
from bench.running import CHECKOUT
from healthcare_dr.errors import HealthcareDrError
from healthcare_dr.ops.terraform.binary import find_terraform
from healthcare_dr.settings import Settings

RESULTS = CHECKOUT / "bench" / "results.json"

out, err = Console(), Console(stderr=True)


class Name(StrEnum):
    """The groups of benchmarks."""

    SYNTHESIS = "synthesis"
    COLD_START = "cold-start"
    WARM = "warm"
    CAPACITY = "capacity"
    UP = "up"
    DRILL = "drill"
    EMBEDDED = "embedded"


GROUPS: dict[Name, Callable[[Say], list[Measurement]]] = {
    Name.SYNTHESIS: synthesis.measure,
    Name.COLD_START: cold_start.measure,
    Name.WARM: warm.measure,
    Name.CAPACITY: capacity.measure,
    Name.UP: deployed.measure_up,
    Name.DRILL: deployed.measure_drill,
    Name.EMBEDDED: embedded.measure,
}


def bench(
    only: Annotated[list[Name] | None, typer.Option(help="Run this group only; may be repeated.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="The JSON file to write. Default: bench/results.json, or no file with --only."),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Let `embedded` also send 100,000 requests, about a quarter of an hour.")
    ] = False,
) -> None:
    """Run the benchmarks."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        measurements = _measure(only or list(Name), long=long)
        if output is None and only is None:
            output = RESULTS
        if output is not None:
            _write(measurements, output)
    except HealthcareDrError as error:
        err.print(f"bench: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        err.print("bench: interrupted")
        raise typer.Exit(130) from None
    out.print(_table(measurements))


def _measure(names: list[Name], *, long: bool) -> list[Measurement]:
    with err.status("") as status:

        def say(text: str) -> None:
            status.update(text)
            if not err.is_terminal:
                err.print(text)

        groups = GROUPS | {Name.EMBEDDED: partial(embedded.measure, long=long)}
        return [measurement for name in names for measurement in groups[name](say)]


def _write(measurements: list[Measurement], output: Path) -> None:
    document = {
        "schema": SCHEMA,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(Settings()),
        "measurements": [measurement.document() for measurement in measurements],
    }
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def machine(settings: Settings) -> dict[str, Any]:
    """Return cores, system and versions. Names neither the machine nor its folders. Downloads Terraform if missing."""
    with tempfile.TemporaryDirectory(prefix="hdr-bench-") as scratch:
        binary = find_terraform(
            configured=settings.terraform,
            tools=Path(scratch),
            base_url=settings.terraform_base_url,
            say=lambda _: None,
        )
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "opentofu" if binary.opentofu else "terraform": binary.version,
    }


def _table(measurements: list[Measurement]) -> Table:
    table = Table(title="median (min)")
    for heading in ("measurement", "measured", "reference", "ratio", "aim", ""):
        table.add_column(heading, no_wrap=heading == "measurement")
    for item in measurements:
        sides = [f"{s.what}\n{s.median:.3g} ({s.min:.3g}) {item.unit}" for s in (item.measured, item.reference)]
        table.add_row(
            f"{item.name}\n{'embedded' if item.embedded else ''}",
            *sides,
            f"{item.ratio:.2f} ({item.ratio_of_min:.2f})",
            _aim(item),
            {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[item.met],
        )
    return table


def _aim(item: Measurement) -> str:
    if item.aim is None:
        return ""
    unit = "x" if item.aim.of == "ratio" else f" {item.unit}"
    return f"{'≤' if item.aim.at == 'most' else '≥'} {item.aim.bound:g}{unit}"


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(bench)
