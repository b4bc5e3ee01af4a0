"""Build a drill from what differs between the embedded AWS and AWS."""

import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import httpx

from healthcare_dr.naming import Names
from healthcare_dr.ops.drill import calibration
from healthcare_dr.ops.drill.delivery import Delivery
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.instruments import Instruments
from healthcare_dr.ops.drill.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.merging import Merging
from healthcare_dr.ops.drill.parts import Faults
from healthcare_dr.ops.drill.prober import Prober
from healthcare_dr.ops.drill.resolver import Answer, Resolver
from healthcare_dr.ops.drill.runner import Drill
from healthcare_dr.ops.drill.self_monitor import Probe, SelfMonitor
from healthcare_dr.ops.drill.view import View
from healthcare_dr.ops.ports import Progress, Target
from healthcare_dr.settings import Settings

LONG_TTL: Final = 3600.0
"""In seconds: a calibration does not look for the name again."""
Held = Callable[[], AbstractContextManager[None]]
LEDGER_SECONDS: Final = 15.0
"""How long a lookup waits for an answer: three times as long as a client, since a busy region is asked again anyway."""


def new_clock() -> Callable[[], float]:
    """Seconds since now."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


def buckets_of(outputs: Mapping[str, str], regions: tuple[str, str]) -> dict[str, str]:
    """The buckets of documents by region, out of the flat outputs of the stacks."""
    roles = zip(("Primary", "Secondary"), regions, strict=True)
    return {region: outputs[f"DocumentsBucket{role}"] for role, region in roles}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a drill is played: how its clients find and trust the APIs, what is looked at, and what can be broken."""

    label: Literal["embedded", "aws"]
    target: Target
    endpoints: Mapping[str, Endpoint]
    """Of each region by itself."""
    buckets: Mapping[str, str]
    """Of documents, by region."""
    make_resolver: Callable[[], Resolver]
    trust: ssl.SSLContext
    token: str
    tenant: str
    """The one that the token names."""
    checks: Callable[[], Mapping[str, bool]]
    dns: Callable[[], Mapping[str, int] | None]
    faults: Faults
    said: Mapping[str, Any]
    """What else belongs to the settings that the journal tells."""
    time_scale: float = 1.0
    delivery: Delivery | None = None
    """What replication has delivered; None where nothing says so."""
    probes: Mapping[str, str] = field(default_factory=dict)
    """The addresses of trivial requests, past every fault, by the field of `Reading` that they fill."""
    calibrated: bool = False
    """Whether this machine serves the platform, so that the load has to suit it."""


@contextmanager
def built(
    settings: Settings,
    experiment: Experiment,
    place: Place,
    *,
    clock: Callable[[], float],
    progress: Progress,
    held: Held,
) -> Iterator[Drill]:
    """A drill to be run in this block."""
    names, regions, load = Names(settings.environment_suffix), settings.regions, experiment.load
    scale = place.time_scale
    clients = load.model_dump()
    if clients["rate"] is None and not place.calibrated:
        clients |= {"rate": calibration.DEFAULT, "given_by": "the default, since AWS serves the platform"}
    # Of this machine's settings only the authorities count: a proxy would hide where a request went.
    with httpx.Client(verify=place.trust, trust_env=False, timeout=LEDGER_SECONDS) as client:
        ledger = Ledger(endpoints=place.endpoints, buckets=place.buckets, token=place.token, client=client, clock=clock)
        prober = Prober(
            name=names.api_domain,
            make_resolver=place.make_resolver,
            token=place.token,
            ca=place.trust,
            clock=clock,
            ledger=ledger,
            drill_id=datetime.now(UTC).strftime("%Y%m%d%H%M%S"),
            regions=[Answer(end.host, end.address, end.port, LONG_TTL) for end in place.endpoints.values()],
            **clients,
        )
        yield Drill(
            experiment=experiment,
            label=place.label,
            regions=regions,
            time_scale=scale,
            floor_seconds=(settings.failure_threshold * settings.health_check_interval + settings.dns_ttl) / scale,
            ttl_seconds=settings.dns_ttl / scale,
            settings=_settings(settings, scale) | dict(place.said) | load.model_dump(mode="json"),
            prober=prober,
            ledger=ledger,
            instruments=Instruments(checks=place.checks, dns=place.dns, lag=ledger.lag, clock=clock, time_scale=scale),
            monitor=SelfMonitor(
                lateness=prober.lateness,
                probes={
                    reading: Probe(url=url, trust=place.trust, clock=clock) for reading, url in place.probes.items()
                },
                clock=clock,
            ),
            faults=place.faults,
            merging=Merging(
                ledger=ledger,
                endpoint=place.endpoints[regions[1]],
                token=place.token,
                client=client,
                tables={region: place.target.client("dynamodb", region) for region in regions},
                table=names.records_table,
                tenant=place.tenant,
                clock=clock,
                sleep=time.sleep,
            ),
            delivery=place.delivery,
            clock=clock,
            sleep=time.sleep,
            view=View(progress=progress),
            held=held,
        )


def _settings(settings: Settings, time_scale: float) -> dict[str, Any]:
    return {
        "regions": list(settings.regions),
        "weights": [settings.primary_weight, settings.secondary_weight],
        "ttl_seconds": settings.dns_ttl,
        "health_check_interval_seconds": settings.health_check_interval,
        "failure_threshold": settings.failure_threshold,
        "time_scale": time_scale,
    }
