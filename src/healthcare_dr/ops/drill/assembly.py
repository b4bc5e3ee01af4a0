"""Puts a drill on the embedded AWS together."""

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import httpx

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import Names
from healthcare_dr.ops import wiring
from healthcare_dr.ops.drain.asking import counted
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.faults import Faults
from healthcare_dr.ops.drill.instruments import Instruments
from healthcare_dr.ops.drill.ledger import Endpoint, Ledger
from healthcare_dr.ops.drill.merging import Merging
from healthcare_dr.ops.drill.prober import Prober
from healthcare_dr.ops.drill.resolver import DnsResolver
from healthcare_dr.ops.drill.runner import Drill
from healthcare_dr.ops.drill.view import View
from healthcare_dr.ops.ports import BreakableAws, Progress, Target
from healthcare_dr.ops.token import DEMO_SCOPES
from healthcare_dr.settings import Settings

TENANT: Final = "drill"
LEDGER_SECONDS: Final = 30.0


def heal(settings: Settings) -> tuple[str, ...]:
    """Undo what a drill that could not end by itself has left broken; says what it was.

    Raises:
        DeploymentError: the embedded AWS does not run, or a fault cannot be undone.
    """
    emulator, target = wiring.emulator_of(settings), wiring.target_of(settings, "embedded")
    target.preflight()
    emulator.set_time_scale(1)
    return _faults(settings, emulator, target).undo_all()


@contextmanager
def assembled(settings: Settings, experiment: Experiment, *, time_scale: float, progress: Progress) -> Iterator[Drill]:
    """A drill on the embedded AWS, in whose block the time scale holds.

    Raises:
        DeploymentError: the platform is not deployed, or does not run.
        EmulatorError: the time scale is out of range.
    """
    emulator, target = wiring.emulator_of(settings), wiring.target_of(settings, "embedded")
    target.preflight()
    outputs = wiring.outputs_of(settings, target)
    if not {"PrimaryApiId", "SecondaryApiId"} <= outputs.keys():
        raise DeploymentError("there is nothing to drill: the platform is not deployed; begin with `hdr up`")
    names, regions = Names(settings.environment_suffix), settings.regions
    began = time.monotonic()

    def clock() -> float:
        return time.monotonic() - began

    endpoints = {
        region: Endpoint(
            region=region,
            host=f"{outputs[f'{role}ApiId']}.execute-api.{region}.amazonaws.com",
            address=door[0],
            port=door[1],
        )
        for role, region in zip(("Primary", "Secondary"), regions, strict=True)
        for door in [emulator.door(region)]
    }
    trust = ssl.create_default_context(cafile=str(emulator.certificate))
    token = emulator.token(subject="drill", tenant=TENANT, scopes=DEMO_SCOPES, audience=settings.oidc_audience)
    load = experiment.load
    emulator.set_time_scale(time_scale)
    try:
        with httpx.Client(verify=trust, trust_env=False, timeout=LEDGER_SECONDS) as client:
            ledger = Ledger(endpoints=endpoints, token=token, client=client, clock=clock)
            yield Drill(
                experiment=experiment,
                label="embedded",
                regions=regions,
                time_scale=time_scale,
                floor_seconds=(settings.failure_threshold * settings.health_check_interval + settings.dns_ttl)
                / time_scale,
                ttl_seconds=settings.dns_ttl / time_scale,
                settings=_settings(settings, emulator, time_scale) | load.model_dump(mode="json"),
                prober=Prober(
                    name=names.api_domain,
                    make_resolver=lambda: DnsResolver(server=emulator.dns(), port=emulator.door(regions[0])[1]),
                    token=token,
                    ca=trust,
                    clock=clock,
                    ledger=ledger,
                    drill_id=datetime.now(UTC).strftime("%Y%m%d%H%M%S"),
                    **load.model_dump(),
                ),
                ledger=ledger,
                instruments=Instruments(
                    checks=partial(_checks, emulator, names, regions),
                    dns=partial(counted, emulator.dns(), names.api_domain),
                    lag=ledger.lag,
                    clock=clock,
                ),
                faults=_faults(settings, emulator, target),
                merging=Merging(
                    ledger=ledger,
                    endpoint=endpoints[regions[1]],
                    token=token,
                    client=client,
                    tables={region: target.client("dynamodb", region) for region in regions},
                    table=names.records_table,
                    tenant=TENANT,
                    clock=clock,
                    sleep=time.sleep,
                ),
                clock=clock,
                sleep=time.sleep,
                view=View(progress=progress),
            )
    finally:
        emulator.set_time_scale(1)


def _faults(settings: Settings, emulator: BreakableAws, target: Target) -> Faults:
    return Faults(
        aws=emulator,
        client=partial(_passing, target, emulator),
        names=Names(settings.environment_suffix),
        regions={"primary": settings.primary_region, "secondary": settings.secondary_region},
        record=wiring.environment_root(settings, "embedded") / "faults.json",
    )


def _settings(settings: Settings, emulator: BreakableAws, time_scale: float) -> dict[str, Any]:
    return {
        "regions": list(settings.regions),
        "weights": [settings.primary_weight, settings.secondary_weight],
        "ttl_seconds": settings.dns_ttl,
        "health_check_interval_seconds": settings.health_check_interval,
        "failure_threshold": settings.failure_threshold,
        "time_scale": time_scale,
        "replication_lag_seconds": emulator.replication().lag_seconds,
    }


def _checks(emulator: BreakableAws, names: Names, regions: tuple[str, str]) -> Mapping[str, bool]:
    """By `endpoint <region>`, `drain <region>` and `health <region>`."""
    told: dict[str, str] = {}
    for role, region in zip(("primary", "secondary"), regions, strict=True):
        told |= {names.of(f"{kind}-{role}"): f"{kind} {region}" for kind in ("endpoint", "drain")}
        told[names.of("health", region)] = f"health {region}"
    return {told[check.name]: check.healthy for check in emulator.checks().values() if check.name in told}


def _passing(target: Target, emulator: BreakableAws, service: str, region: str) -> Any:
    """A client whom no refused control plane stops: the fault itself."""
    client = target.client(service, region)
    name, value = emulator.pass_header()
    client.meta.events.register("before-sign", lambda request, **_: request.headers.add_header(name, value))
    return client
