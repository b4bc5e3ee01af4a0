"""Read the status of a deployment: stacks, health, drain flags, traffic weights and outputs."""

import json
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PIPELINE, PRIMARY, SECONDARY, STACKS, Names
from healthcare_dr.ops.http import Probe, api_prober
from healthcare_dr.ops.ports import REGIONAL, Target
from healthcare_dr.ops.terraform.state import StackState, read_settled

Health = Literal["healthy", "unhealthy", "unreachable", "not deployed"]
Drain = Literal["serving", "draining", "unknown"]


@dataclass(frozen=True)
class RegionStatus:
    """One region: its own health, and its drain flag as stored in the peer."""

    region: str
    stack: str
    resources: int
    endpoint: str | None
    health: Health
    drain: Drain
    weight: int | None
    """The share of DNS answers, relative to the other region's; None without records."""


@dataclass(frozen=True)
class Status:
    """One environment on one target."""

    target: str
    suffix: str
    name: str
    """The name that clients use."""
    issuer: str
    running: bool | None
    """Whether the embedded AWS runs; None for AWS."""
    global_resources: int
    weights_unread: str | None
    """The error of reading the weights from Route 53, whose control plane is in us-east-1 only; None without."""
    regions: tuple[RegionStatus, ...]

    @property
    def healthy(self) -> bool:
        """Return whether all three stacks exist and both regions are healthy."""
        return self.global_resources > 0 and all(region.health == "healthy" for region in self.regions)


def read_status(
    *,
    target: Target,
    names: Names,
    regions: tuple[str, str],
    states: Mapping[str, StackState],
    running: bool | None,
    probe: Probe | None = None,
) -> Status:
    """Read every endpoint, both drain flags and the zone. What does not respond is part of the status."""
    reachable = running is not False
    outputs = {
        region: states[stack].outputs
        for stack, region in zip(REGIONAL, regions, strict=True)
        if states[stack].deployed and {"api_id", "api_endpoint"} <= states[stack].outputs.keys()
    }
    urls = {region: str(found["api_endpoint"]) for region, found in outputs.items()}
    peers = {regions[0]: regions[1], regions[1]: regions[0]}
    addresses = {("health", region): f"{url}/health" for region, url in urls.items()} | {
        ("drain", region): f"{urls[peers[region]]}/drain/{region}" for region in regions if peers[region] in urls
    }
    with ThreadPoolExecutor(max_workers=4) as pool:
        found = pool.map(probe or api_prober(target), addresses.values() if reachable else ())
        codes = dict(zip(addresses, found, strict=reachable))
    zone = str(states[GLOBAL].outputs.get("zone_id", ""))
    weights, unread = _weights(target, names, zone) if reachable and zone else ({}, None)
    return Status(
        target=target.name,
        suffix=names.suffix,
        name=names.api_domain,
        issuer=target.issuer(),
        running=running,
        global_resources=states[GLOBAL].resources,
        weights_unread=unread,
        regions=tuple(
            RegionStatus(
                region=region,
                stack=stack,
                resources=states[stack].resources,
                endpoint=target.api_url(outputs[region]) if region in outputs else None,
                health=_health(codes.get(("health", region))) if region in urls else "not deployed",
                drain=_drain(codes.get(("drain", region))),
                weight=weights.get(region),
            )
            for stack, region in zip(STACKS, regions, strict=False)
        ),
    )


def _health(code: int | None) -> Health:
    if code is None:
        return "unreachable"
    return "healthy" if code == 200 else "unhealthy"


def _drain(code: int | None) -> Drain:
    if code == 200:
        return "draining"
    return "serving" if code == 404 else "unknown"


def _weights(target: Target, names: Names, zone: str) -> tuple[dict[str, int], str | None]:
    """Return the weights of the API's records by region, which is their set identifier; and the error, if any.

    The zone is given by its id, because an account may have other zones with the same name.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        pages = target.client("route53", "us-east-1").get_paginator("list_resource_record_sets")
        records = [record for page in pages.paginate(HostedZoneId=zone) for record in page["ResourceRecordSets"]]
    except (BotoCoreError, ClientError) as error:
        return {}, " ".join(str(error).split())
    weights = {
        record["SetIdentifier"]: record["Weight"]
        for record in records
        if record["Name"].rstrip(".") == names.api_domain and "Weight" in record
    }
    return weights, None


# The global stack's outputs exist once and have no prefix.
PREFIXES = {PRIMARY: "Primary", SECONDARY: "Secondary", GLOBAL: ""}


def flatten(states: Mapping[str, StackState]) -> dict[str, str]:
    """Return all outputs as one mapping: `api_id` of the primary stack becomes `PrimaryApiId`.

    Every value is a string: lists are joined by commas, other values are JSON.
    """
    flat = {
        prefix + "".join(part[:1].upper() + part[1:] for part in name.split("_")): _text(value)
        for stack, prefix in PREFIXES.items()
        for name, value in states[stack].outputs.items()
        if states[stack].deployed
    }
    return dict(sorted(flat.items()))


def write_outputs(flat: Mapping[str, str], file: Path) -> None:
    """Write the mapping as JSON, atomically.

    Raises:
        DeploymentError: the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, staging = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as out:
                json.dump(flat, out, indent=2, sort_keys=True)
                out.write("\n")
            Path(staging).chmod(0o644)
            Path(staging).replace(file)
        finally:
            Path(staging).unlink(missing_ok=True)
    except OSError as error:
        raise DeploymentError(f"{file} cannot be written: {error.strerror}") from error


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return json.dumps(value, sort_keys=True)


def pipeline_variables(target: Target) -> dict[str, str]:
    """Return the variables of the repository that the workflow reads, from the outputs of the pipeline's stack."""
    outputs = read_settled(PIPELINE, lambda: target.read_state(PIPELINE)).outputs
    return {f"HDR_{name.upper()}": str(outputs[name]) for name in sorted(outputs) if name.endswith("_role_arn")}
