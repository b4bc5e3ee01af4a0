"""`hdr verify` beside `hdr status`, on a platform that is up."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.model import Aim, Measurement, Say, Series
from bench.running import free_port, run, scratch_folder

ROUNDS = 5
HDR = Path(sys.executable).with_name("hdr")
# Neither is ready on a platform of a minute's age: both tell so with this code.
TELLING = (0, 1)


def measure(say: Say) -> list[Measurement]:
    """Deploys the whole platform to an embedded AWS of its own, and destroys it."""
    with scratch_folder() as scratch:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HDR_", "AWS_"))}
        environment = kept | {
            "HDR_HOME": str(scratch / "home"),
            "HDR_EMULATOR_PORT": str(free_port()),
            "ENVIRONMENT_SUFFIX": "bench",
        }

        def hdr(*command: str, codes: Sequence[int] = (0,)) -> float:
            # In a folder without a `.env`.
            return run([HDR, *command], environment=environment, folder=scratch, codes=codes).seconds

        try:
            say("verify: a platform to ask, about three minutes")
            hdr("up")
            asked: dict[str, list[float]] = {"verify": [], "status": []}
            for number in range(1, ROUNDS + 1):
                say(f"verify: {number} of {ROUNDS}")
                for command, samples in asked.items():
                    samples.append(hdr(command, "--json", codes=TELLING))
        finally:
            say("verify: down again, about two minutes")
            hdr("down")
    return [
        Measurement(
            name="verify",
            unit="s",
            measured=Series("hdr verify", tuple(asked["verify"])),
            reference=Series("hdr status", tuple(asked["status"])),
            aim=Aim("measured", "most", 10.0),
            embedded=True,
            note="Every check of both regions, beside the four requests of `hdr status`. Most of it is making clients; "
            "on AWS it is the network.",
        )
    ]
