"""What a drill's clients cost: latency that they add to what they measure, and the processor they take from it."""

import json

from bench.model import Aim, Measurement, Say, Series
from bench.running import python

NOTE = (
    "Reads at the rate of a drill with its default load, over TLS, of a local server that answers at once and runs in "
    "a process of its own; both sides in turns. DNS is not asked: an answer is kept for its TTL. "
)


def measure(say: Say) -> list[Measurement]:
    """The drill's clients and one bare httpx client send the same request to the same server."""
    say("prober: about a minute")
    return measurements(json.loads(python("prober").output))


def measurements(found: dict[str, dict[str, list[float]]]) -> list[Measurement]:
    """By side (`prober`, `httpx`): `latency` of each request, and `cpu` of each round's average request, both in ms."""
    prober, bare = found["prober"], found["httpx"]
    return [
        Measurement(
            name="prober-latency",
            unit="ms",
            measured=Series("drill's clients", tuple(prober["latency"])),
            reference=Series("httpx alone", tuple(bare["latency"])),
            aim=Aim("ratio", "most", 1.3),
            note=NOTE + "From when a request was due to its answer, as a drill counts.",
        ),
        Measurement(
            name="prober-cpu",
            unit="ms",
            measured=Series("drill's clients", tuple(prober["cpu"])),
            reference=Series("httpx alone", tuple(bare["cpu"])),
            aim=Aim("ratio", "most", 1.5),
            note=NOTE + "Processor time of the whole process for each request, the handshakes of a round included: "
            "eight clients make eight, httpx alone one.",
        ),
    ]
