"""How long `hdr verify` takes, beside `hdr status`."""

import json

from bench.deployed import deployed
from bench.model import Aim, Measurement, Say, Series
from bench.running import BenchError, Finished

TIMES = 5
ANSWERED = (0, 1)
"""Exit codes of a question that was answered: all well, or not."""


def measure(say: Say) -> list[Measurement]:
    """Deploys a platform of its own and asks it both, in turns."""
    say("verify: deploying, about three minutes")
    verified, shown = [], []
    with deployed() as platform:
        for number in range(1, TIMES + 1):
            say(f"verify: asking, {number} of {TIMES}")
            shown.append(answered(platform.hdr("status", "--json", codes=ANSWERED)))
            verified.append(answered(platform.hdr("verify", "--json", codes=ANSWERED)))
    return [measurement(verified, shown)]


def answered(finished: Finished) -> float:
    """How long it took, when it answered with a document.

    Raises:
        BenchError: it did not.
    """
    try:
        document = json.loads(finished.output)
    except ValueError as error:
        raise BenchError(f"no JSON document was answered, but {finished.output[:80]!r}") from error
    if not document:
        raise BenchError("an empty document was answered")
    return finished.seconds


def measurement(verified: list[float], shown: list[float]) -> Measurement:
    """The comparison."""
    return Measurement(
        name="verify",
        unit="s",
        measured=Series("hdr verify", tuple(verified)),
        reference=Series("hdr status", tuple(shown)),
        aim=Aim("measured", "most", 10.0),
        embedded=True,
        note="Each in a fresh process, in turns, on a platform in steady state: what an operator waits for.",
    )
