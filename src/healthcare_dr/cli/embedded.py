"""`hdr up` and `hdr down`: the whole platform on this machine."""

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from healthcare_dr.cli.common import JsonOption, finish, out, report, session
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.tables import print_done, print_status, summary_lines

# Those that curl reads for an https:// address.
PROXIES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
HOST = "127.0.0.1"


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
    print_status(out, status)
    for line in summary_lines(
        status, done.demo, certificate=_from_here(certificate), hdr=_how_we_were_called(), curl=_curl(os.environ)
    ):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    print_done(out, done.changes, seconds)


def down(
    keep: Annotated[bool, typer.Option("--keep", help="Only stop; the next `hdr up` finds everything again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Destroy what is deployed to the embedded AWS, and stop it unless another environment is deployed there."""
    began = time.monotonic()
    with session() as at_work:
        changes = at_work.lifecycle().down(keep=keep)
    finish(changes, began, as_json=as_json)


def _curl(environment: Mapping[str, str]) -> str:
    """Return the curl command with options that bypass a proxy for loopback addresses."""
    proxied = any(environment.get(name) for name in PROXIES)
    return f"curl --noproxy {HOST}" if proxied else "curl"


def _how_we_were_called() -> str:
    """Return the shell-quoted command that runs this program from the current folder."""
    called, found = Path(sys.argv[0]), shutil.which("hdr")
    return "hdr" if found and called.exists() and called.samefile(found) else _from_here(called)


def _from_here(path: Path) -> str:
    """As short as it can be named in the current folder, shell-quoted."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
