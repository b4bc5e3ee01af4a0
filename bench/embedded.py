"""What the embedded AWS serves, what it costs idle and busy, and how it comes out of overload."""

import json
from typing import Any

from bench.deployed import deployed
from bench.model import Aim, Measurement, Say, Series
from bench.running import BenchError, python

SCALE = "10"
ROUTE = "8 connections over both regions, through the front doors, with a load client in a process of its own. "
HALF, WHOLE = 50_000, 100_000


def measure(say: Say, *, long: bool = False) -> list[Measurement]:
    """Deploys a platform of its own. `long` adds 100,000 requests, about a quarter of an hour."""
    say("embedded: deploying, about two minutes")
    with deployed() as platform:
        say(f"embedded: {'about twenty' if long else 'about five'} minutes")
        arguments = ["--home", str(platform.home), "--suffix", platform.suffix, "--port", str(platform.port)]
        output = python("embedded", *arguments, *(["--long"] if long else [])).output
    return measurements(json.loads(output))


def measurements(found: dict[str, Any]) -> list[Measurement]:
    """The rows of what `bench.processes.embedded` has printed.

    Raises:
        BenchError: the platform never recovered from overload.
    """
    rows = [*_served(found), *_costs(found), *_idle(found), *_overload(found["overload"]), _memory(found)]
    return [*rows, _growth(found["long"])] if "long" in found else rows


def _row(name: str, unit: Any, measured: Series, reference: Series, note: str, aim: Aim | None = None) -> Measurement:
    return Measurement(
        name=f"embedded-{name}", unit=unit, measured=measured, reference=reference, aim=aim, embedded=True, note=note
    )


def _served(found: dict[str, Any]) -> list[Measurement]:
    served, boto3 = found["served"], found["boto3"]
    reads = Series("GET /fhir/Patient/{id}", tuple(served["reads"]))
    health = Series("GET /health", tuple(served["health"]))
    return [
        _row(
            "reads",
            "per s",
            reads,
            Series("boto3 GetItem", tuple(boto3["reads"])),
            f"{ROUTE}The reference makes bare calls from eight threads; a read by the API makes two, a token check and "
            "a function call.",
            # Twice what commit fce2896 serves on an idle machine with two cores.
            Aim("measured", "least", 130),
        ),
        _row(
            "writes",
            "per s",
            Series("POST /fhir/Patient", tuple(served["writes"])),
            Series("boto3 PutItem", tuple(boto3["writes"])),
            f"{ROUTE}A write is one transaction of version, head, index and audit items, replicated to the peer.",
            Aim("measured", "least", 100),
        ),
        _row("health", "per s", health, reads, f"{ROUTE}Health checks make the same request."),
        _row(
            "reads-direct",
            "per s",
            Series("GET /fhir/Patient/{id}, direct address", tuple(served["reads_direct"])),
            reads,
            "The same at the address that `hdr status` shows, past the front doors.",
        ),
        _row(
            "health-direct",
            "per s",
            Series("GET /health, direct address", tuple(served["health_direct"])),
            health,
            "The same at the address that `hdr status` shows, past the front doors.",
        ),
    ]


def _costs(found: dict[str, Any]) -> list[Measurement]:
    return [
        _row(
            f"cpu-{kind.replace('_', '-')}",
            "ms",
            Series("embedded AWS", tuple(_platform(sample) for sample in samples)),
            Series("load client", tuple(sample["client"] for sample in samples)),
            f"Processor time for each request: {_by_process(samples)}.",
        )
        for kind, samples in found["cpu_ms"].items()
    ]


def _platform(sample: dict[str, float]) -> float:
    return sum(value for role, value in sample.items() if role != "client")


def _by_process(samples: list[dict[str, float]]) -> str:
    medians = {role: sorted(sample[role] for sample in samples)[len(samples) // 2] for role in samples[0]}
    return ", ".join(f"{role} {value:.2f} ms" for role, value in medians.items())


def _idle(found: dict[str, Any]) -> list[Measurement]:
    real = Series("real time", (_total(found["idle_percent"]["1"]),))
    fast = Series(f"time scale {SCALE}", (_total(found["idle_percent"][SCALE]),))
    note = "Processor time without clients, of a core, all processes together: health checks, schedules, streams."
    return [
        _row("idle", "%", real, fast, note, Aim("measured", "most", 5)),
        _row("idle-fast", "%", fast, real, note, Aim("measured", "most", 20)),
    ]


def _total(by_role: dict[str, float]) -> float:
    return sum(by_role.values())


def _overload(found: dict[str, Any]) -> list[Measurement]:
    if found["recovery_seconds"] is None:
        raise BenchError(f"the platform did not recover from overload: {found['statuses']}")
    return [
        _row(
            "overload",
            "per s",
            Series("successes while overloaded", (found["goodput"],)),
            Series("served before", (found["capacity"],)),
            f"{found['offered']:.0f} reads per second are offered for 20 s by 200 connections that give up after 2 s "
            "and send on.",
            Aim("ratio", "least", 0.5),
        ),
        _row(
            "recovery",
            "s",
            Series("until every request succeeds", (found["recovery_seconds"],)),
            Series("overload", (20.0,)),
            "From the end of the overload, while half of what is served is offered; then 5 s without a failure.",
            Aim("measured", "most", 5),
        ),
    ]


def _memory(found: dict[str, Any]) -> Measurement:
    memory = found["memory_mb"]
    return _row(
        "memory",
        "MB",
        Series("after the measurements", (_total(memory["used"]),)),
        Series("when deployed", (_total(memory["deployed"]),)),
        "Proportional set size of all processes together, functions' included.",
        Aim("measured", "most", 1000),
    )


def _growth(steps: list[dict[str, Any]]) -> Measurement:
    half, whole = (next(step for step in steps if step["requests"] == sent) for sent in (HALF, WHOLE))
    return _row(
        "growth",
        "MB",
        Series("at request 100,000", (beyond_stored(whole),)),
        Series("at request 50,000", (beyond_stored(half),)),
        f"Memory beyond stored items and objects. Stored: {_stored(half)}, then {_stored(whole)}. What items take is "
        "their number times what a sample of them takes as Python values.",
        Aim("ratio", "most", 1.05),
    )


def beyond_stored(step: dict[str, Any]) -> float:
    """Megabytes of memory that stored items do not explain. Objects are stored on disk."""
    return _total(step["memory_mb"]) - float(step["resident_item_bytes"]) / 1e6


def _stored(step: dict[str, Any]) -> str:
    stored, resident, objects = (step[name] / 1e6 for name in ("item_bytes", "resident_item_bytes", "object_bytes"))
    return (
        f"{step['items']:,} items of {stored:.0f} MB, which take {resident:.0f} MB, "
        f"and {step['objects']:,} objects of {objects:.0f} MB"
    )
