"""`hdr up` and `hdr down`."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from healthcare_dr.cli.common import (
    JsonOption,
    command,
    finish,
    print_changes,
    print_plain,
    print_status,
    report,
    session,
)
from healthcare_dr.naming import DEFAULT_SUFFIX, SUFFIX_VARIABLE
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.lifecycle import Demo
from healthcare_dr.ops.status import Status

# The variables that curl reads for an https:// address.
PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
HOST = "127.0.0.1"


@command
def up(as_json: JsonOption = False) -> None:
    """Start the embedded AWS, deploy all three stacks to it, and prove that records cross regions."""
    began = time.monotonic()
    with session() as at_work:
        settings = at_work.settings
        done = at_work.lifecycle().up()
        status = bootstrap.status_of(settings, bootstrap.target_of(settings, "embedded"))
        certificate = bootstrap.emulator_of(settings).certificate
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        report(
            {"seconds": seconds, "changes": asdict(done.changes), "demo": asdict(done.demo), "status": asdict(status)}
        )
        return
    print_status(status)
    for line in summary_lines(
        status, done.demo, certificate=_from_here(certificate), hdr=_own_command(), curl=_curl(os.environ)
    ):
        print_plain(line)
    print_changes(done.changes, seconds)


@command
def down(
    keep: Annotated[bool, typer.Option("--keep", help="Only stop; the next `hdr up` finds everything again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Destroy what is deployed to the embedded AWS, and stop it unless another environment is deployed there."""
    began = time.monotonic()
    with session() as at_work:
        changes = at_work.lifecycle().down(keep=keep)
    finish(changes, began, as_json=as_json)


def summary_lines(status: Status, demo: Demo, *, certificate: str, hdr: str, curl: str = "curl") -> Iterator[str]:
    """Return the summary after `hdr up`, with commands that can be copied."""
    if status.suffix != DEFAULT_SUFFIX:
        hdr = f"{SUFFIX_VARIABLE}={status.suffix} {hdr}"
    yield f"A fictitious patient, written in {demo.written_in}, was read in {demo.read_in}:"
    yield (
        f"  {demo.patient_id}, written in {demo.write_seconds:.3f} s, read {demo.seen_after_seconds:.3f} s later "
        f"({status.target})"
    )
    yield ""
    yield "Try next:"
    token = f'-H "Authorization: Bearer $({hdr} token)"'
    for region in status.regions:
        yield f"  {curl} --cacert {certificate} {region.endpoint}/health    # {region.region}"
    yield f"  {curl} --cacert {certificate} {token} {status.regions[-1].endpoint}/fhir/Patient/{demo.patient_id}"
    yield f"  {hdr} drill region-refused --time-scale 10    # break a region, and see recovery measured"
    yield f"  {hdr} verify"
    yield f"  {hdr} status"
    yield f"  {hdr} down"


def _curl(environment: Mapping[str, str]) -> str:
    """Return the curl command with options that bypass a proxy for loopback addresses."""
    proxied = any(environment.get(name) for name in PROXIES)
    return f"curl --noproxy {HOST}" if proxied else "curl"


def _own_command() -> str:
    """Return the shell-quoted command that runs this program from the current folder."""
    called, found = Path(sys.argv[0]), shutil.which("hdr")
    return "hdr" if found and called.exists() and called.samefile(found) else _from_here(called)


def _from_here(path: Path) -> str:
    """Return the path, relative if it is in the current folder, shell-quoted."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
