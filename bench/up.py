"""`hdr up` from nothing, and again with everything in place."""

import os
import sys
from pathlib import Path

from bench.model import Aim, Measurement, Say, Series
from bench.running import Finished, free_port, run, scratch_folder

AGAIN = 3
HDR = Path(sys.executable).with_name("hdr")


def measure(say: Say) -> list[Measurement]:
    """Deploys the whole platform to an embedded AWS of its own, and destroys it."""
    with scratch_folder() as scratch:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HDR_", "AWS_"))}
        environment = kept | {
            "HDR_HOME": str(scratch / "home"),
            "HDR_EMULATOR_PORT": str(free_port()),
            "ENVIRONMENT_SUFFIX": "bench",
        }

        def hdr(command: str) -> Finished:
            # In a folder without a `.env`.
            return run([HDR, command], environment=environment, folder=scratch)

        try:
            say("up: from nothing, about three minutes")
            first = hdr("up").seconds
            again = []
            for number in range(1, AGAIN + 1):
                say(f"up: again, {number} of {AGAIN}")
                again.append(hdr("up").seconds)
        finally:
            say("up: down again, about two minutes")
            hdr("down")
    return [
        Measurement(
            name="up",
            unit="s",
            measured=Series("hdr up, everything in place", tuple(again)),
            reference=Series("hdr up, from nothing", (first,)),
            aim=Aim("measured", "most", 20.0),
            embedded=True,
            note="Start of the embedded AWS, three stacks by Terraform, and the check that a record crosses regions. "
            "Much of the first is the provider waiting.",
        )
    ]
