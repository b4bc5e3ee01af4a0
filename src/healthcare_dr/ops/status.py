"""Read the status of a deployment: stacks, health, drain flags, traffic weights and outputs."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY, STACKS, Names
from healthcare_dr.ops.http import https_client
from healthcare_dr.ops.ports import REGIONAL, Target
from healthcare_dr.ops.terraform.state import StackState

Health = Literal["healthy", "unhealthy", "unreachable", "not deployed"]
Drain = Literal["serving", "draining", "unknown"]
Ask = Callable[[str], int | None]
"""Answers the HTTP status of an address, or None when there was no answer in time."""


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
    """Its share of DNS answers, relative to the other region's; None without records."""


@dataclass(frozen=True)
class Status:
    """One environment on one target."""

    target: str
    suffix: str
    name: str
    """The name clients use."""
    issuer: str
    running: bool | None
    """Whether the embedded AWS runs; None for AWS."""
    global_resources: int
    weights_unread: str | None
    """Why Route 53 does not tell the weights; its control plane lives in us-east-1 alone, answering DNS goes on."""
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
    ask: Ask | None = None,
) -> Status:
    """Read every endpoint, both drain flags and the zone. One that does not respond is part of the status."""
    reachable = running is not False
    ask = ask or api_prober(target)
    outputs = {
        region: states[stack].outputs
        for stack, region in zip(REGIONAL, regions, strict=True)
        if states[stack].deployed and {"api_id", "api_endpoint"} <= states[stack].outputs.keys()
    }
    urls = {region: str(found["api_endpoint"]) for region, found in outputs.items()}
    peers = {regions[0]: regions[1], regions[1]: regions[0]}
    questions = {("health", region): f"{url}/health" for region, url in urls.items()} | {
        ("drain", region): f"{urls[peers[region]]}/drain/{region}" for region in regions if peers[region] in urls
    }
    with ThreadPoolExecutor(max_workers=4) as pool:
        codes = dict(zip(questions, pool.map(ask, questions.values()), strict=True)) if reachable else {}
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


def api_prober(target: Target) -> Ask:
    """Return a function that requests the APIs by their own host names, as health checkers do; at most 5 s."""
    import httpx

    doors = {f".execute-api.{region}.amazonaws.com": door for region, door in target.edge_addresses().items()}

    def ask(url: str) -> int | None:
        asked = httpx.URL(url)
        door = next((door for names, door in doors.items() if asked.host.endswith(names)), None)
        try:
            with https_client(target.ca_bundle(), timeout=5) as client:
                if door is None:
                    return client.get(asked).status_code
                return client.get(
                    asked.copy_with(host=door[0], port=door[1]),
                    headers={"Host": asked.host},
                    extensions={"sni_hostname": asked.host},
                ).status_code
        except (httpx.HTTPError, OSError):
            return None

    return ask


def _health(code: int | None) -> Health:
    if code is None:
        return "unreachable"
    return "healthy" if code == 200 else "unhealthy"


def _drain(code: int | None) -> Drain:
    if code == 200:
        return "draining"
    return "serving" if code == 404 else "unknown"


def _weights(target: Target, names: Names, zone: str) -> tuple[dict[str, int], str | None]:
    """The weights of the API's records, by region, since a record's set identifier is its region; or why there are
    none. The zone is the one deployed: an account may have others of the same name."""
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


# The global stack's outputs exist once and carry no prefix.
PREFIXES = {PRIMARY: "Primary", SECONDARY: "Secondary", GLOBAL: ""}


def flatten(states: Mapping[str, StackState]) -> dict[str, str]:
    """`api_id` of the primary stack becomes `PrimaryApiId`, `records_table` of the global one `RecordsTable`.

    Every value is a string: lists are joined by commas, anything deeper is JSON.
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
