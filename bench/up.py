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
            say("up: from nothing, about two minutes")
            first = platform.hdr("up").seconds
            again = []
            for number in range(1, AGAIN + 1):
                say(f"up: again, {number} of {AGAIN}")
                again.append(platform.hdr("up").seconds)
        finally:
            say("up: down again, about two minutes")
            platform.hdr("down")
    return measurements(first, again)


def measurements(first: float, again: list[float]) -> list[Measurement]:
    """Both in seconds, each compared with the other."""
    anew, in_place = Series("hdr up, from nothing", (first,)), Series("hdr up, everything in place", tuple(again))
    return [
        Measurement(
            name="up",
            unit="s",
            measured=in_place,
            reference=anew,
            aim=Aim("measured", "most", 20.0),
            embedded=True,
            note="Start of the embedded AWS, three stacks by Terraform, and the check that a record crosses regions.",
        ),
        Measurement(
            name="up-first",
            unit="s",
            measured=anew,
            reference=in_place,
            aim=Aim("measured", "most", 100.0),
            embedded=True,
            note="Nearly all of it is the provider waiting: a key 12 s, functions 5 s each and one at a time, then the "
            "zone 30 s and its records 30 s.",
        ),
    ]
