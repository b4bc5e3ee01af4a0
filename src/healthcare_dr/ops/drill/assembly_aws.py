"""Puts a drill on AWS together. Not run against AWS itself: every part is proven with stand-ins."""

import asyncio
import base64
import binascii
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.naming import Names
from healthcare_dr.ops import wiring
from healthcare_dr.ops.drain.asking import first_answering
from healthcare_dr.ops.drill import instruments_aws as look
from healthcare_dr.ops.drill.building import Held, Place, buckets_of, built, new_clock
from healthcare_dr.ops.drill.calibration import DEFAULT
from healthcare_dr.ops.drill.client import region_of
from healthcare_dr.ops.drill.consent import Consent
from healthcare_dr.ops.drill.experiment import Experiment
from healthcare_dr.ops.drill.faults_aws import AwsFaults
from healthcare_dr.ops.drill.playable import PLAYED_BY_FIS, UNPLAYABLE_ON_AWS, limits, refuse_unplayable
from healthcare_dr.ops.drill.resolver import DnsResolver
from healthcare_dr.ops.drill.runner import Drill
from healthcare_dr.ops.ports import Progress, Target
from healthcare_dr.ops.seed import given_token
from healthcare_dr.settings import Settings

OUTPUTS = ("PrimaryApiId", "SecondaryApiId", "DocumentsBucketPrimary", "DocumentsBucketSecondary", "NameServers")


def heal_aws(settings: Settings, *, progress: Progress, target: Target | None = None) -> tuple[str, ...]:
    """Undo what a drill that could not end by itself has left broken; says what it was.

    Raises:
        DeploymentError: it is another account, or a fault cannot be undone.
    """
    target = target or wiring.target_of(settings, "aws")
    target.preflight()
    return _faults(settings, target, progress, time.monotonic).undo_all()


@contextmanager
def assembled_aws(
    settings: Settings,
    experiment: Experiment,
    *,
    token: str,
    consent: Consent,
    progress: Progress,
    held: Held = nullcontext,
    target: Target | None = None,
    resolver: tuple[str, int] | None = None,
    address_of: Callable[[str], str] = socket.gethostbyname,
) -> Iterator[Drill]:
    """A drill on AWS, to be run in its block. Nothing is broken before `consent` has been asked.

    `token` is what HDR_TOKEN holds. `target`, `resolver` (address and port of a recursive one) and `address_of` are
    those of this machine unless given.

    Raises:
        SettingsError: AWS cannot play this, the domain is not delegated, or there is no token.
        DeploymentError: wrong account, not deployed, DNS does not lead to a region, no template, or no consent.
    """
    refuse_unplayable(experiment, "aws")
    if not settings.dns_delegated:
        raise SettingsError(
            "a drill measures what clients see, and on AWS they find the APIs only once the domain is delegated: "
            "delegate it, set HDR_DNS_DELEGATED=true, deploy, and begin again"
        )
    target = target or wiring.target_of(settings, "aws")
    bearer = given_token(target, token, tenant=None, command="hdr drill")
    tenant = _tenant_of(bearer, settings.tenant_claim)
    target.preflight()
    outputs = wiring.outputs_of(settings, target)
    if not all(name in outputs for name in OUTPUTS):
        raise DeploymentError("there is nothing to drill: deploy first with `hdr deploy --target aws`")
    names, regions = Names(settings.environment_suffix), settings.regions
    server = resolver or look.system_resolver()
    _demand_answer(names.api_domain, server, regions)
    clock = new_clock()
    faults = _faults(settings, target, progress, clock)
    faults.demand_templates(experiment)
    checks = look.health_checks(target.client("route53", look.METRICS_REGION), names, regions)
    hosts = {
        region: f"{outputs[f'{role}ApiId']}.execute-api.{region}.amazonaws.com"
        for role, region in zip(("Primary", "Secondary"), regions, strict=True)
    }
    places = look.endpoints(hosts, address_of=address_of)
    consent(_warning(settings, experiment))
    place = Place(
        label="aws",
        target=target,
        endpoints=places,
        buckets=buckets_of(outputs, regions),
        make_resolver=lambda: DnsResolver(server=server, port=look.HTTPS),
        trust=ssl.create_default_context(),
        token=bearer,
        tenant=tenant,
        checks=look.CloudWatchChecks(
            cloudwatch=target.client("cloudwatch", look.METRICS_REGION), checks=checks, clock=clock
        ),
        dns=partial(_regions_named, outputs["NameServers"], names.api_domain),
        faults=faults,
        said={"on_aws": "; ".join(limits(experiment, "aws"))},
    )
    with built(settings, experiment, place, clock=clock, progress=progress, held=held) as drill:
        yield drill


def _faults(settings: Settings, target: Target, progress: Progress, clock: Callable[[], float]) -> AwsFaults:
    return AwsFaults(
        client=target.client,
        names=Names(settings.environment_suffix),
        regions={"primary": settings.primary_region, "secondary": settings.secondary_region},
        record=wiring.environment_root(settings, "aws") / "faults.json",
        clock=clock,
        sleep=time.sleep,
        say=progress.say,
    )


def _tenant_of(token: str, claim: str) -> str:
    """The tenant that a token names, to know the drill's own records by; the APIs check the token, not we."""
    try:
        payload = token.split(".")[1]
        tenant = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))[claim]
    except (IndexError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise SettingsError(f"HDR_TOKEN names no tenant: the APIs take a JWT with the claim `{claim}`") from error
    return str(tenant)


def _demand_answer(name: str, server: tuple[str, int], regions: tuple[str, str]) -> None:
    answer = asyncio.run(DnsResolver(server=server, port=look.HTTPS).resolve(name))
    if region_of(answer.target) not in regions:
        raise DeploymentError(
            f"{name} leads to {answer.target}, which is no API of {' or '.join(regions)}: is the domain delegated to "
            "the name servers that `hdr outputs --target aws` names?"
        )


def _regions_named(name_servers: str, name: str) -> Mapping[str, int] | None:
    return first_answering([host for host in name_servers.split(",") if host], name)


def _warning(settings: Settings, experiment: Experiment) -> list[str]:
    names = dict(zip(("primary", "secondary"), settings.regions, strict=True))
    lines = [f"On AWS, environment {settings.environment_suffix}, this drill breaks what serves real clients:"]
    for step in experiment.method:
        if step.fault in UNPLAYABLE_ON_AWS:
            continue
        where = " and ".join(names[role] for role in step.roles)
        until = "until watching ends" if step.lasting is None else f"for {step.lasting:g} s"
        lines.append(f"  {step.fault} in {where}, after {step.at:g} s, {until}")
    lines += [f"  {line}" for line in limits(experiment, "aws")]
    rate, seconds = experiment.load.rate or DEFAULT, experiment.watch_seconds
    lines.append(
        f"It sends {rate:g} requests a second for {seconds:g} s and some minutes more, and writes fictitious "
        "patients into append-only records of the token's tenant, where they stay."
    )
    if any(step.fault in PLAYED_BY_FIS for step in experiment.method):
        lines.append("FIS bills each action by the minute. How to stop it by hand: docs/fault-injection.md")
    return lines
