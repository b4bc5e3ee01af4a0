"""`hdr up` from nothing, and again with everything in place."""

from bench.deployed import Deployed
from bench.model import Aim, Measurement, Say, Series
from bench.running import scratch_folder

AGAIN = 3


def measure(say: Say) -> list[Measurement]:
    """Deploys the whole platform to an embedded AWS of its own, and destroys it."""
    with scratch_folder() as scratch:
        platform = Deployed(scratch)
        try:
            say("up: from nothing, about three minutes")
            first = platform.hdr("up").seconds
            again = []
            for number in range(1, AGAIN + 1):
                say(f"up: again, {number} of {AGAIN}")
                again.append(platform.hdr("up").seconds)
        finally:
            say("up: down again, about two minutes")
            platform.hdr("down")
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
