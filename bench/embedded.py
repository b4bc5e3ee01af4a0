"""Measure what the embedded AWS serves, what it costs idle and busy, and how it recovers from overload.

The platform under test is deployed for the benchmark. The load comes from `bench.processes.load`, in a process of its
own.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cached_property
from itertools import cycle
from statistics import median
from typing import Any

import httpx
from botocore.config import Config

from bench.deployed import Deployed, deployed
from bench.model import Aim, Measurement, Say, Series
from bench.processtree import cpu_seconds, memory_megabytes
from bench.running import CHECKOUT, BenchError, aws_client
from healthcare_dr.emulator.emulator import Emulator

CONNECTIONS = 8
ROUNDS = 3
ROUND_SECONDS = 6.0
IDLE_SECONDS = 60.0
"""One round of the schedules, which run every minute."""
IDLE_SETTLE_SECONDS = 10.0
SCALE = 10
"""The measured raised time scale."""
PATIENTS = 10
OVERLOAD = 3.0
"""Offered load during overload, in multiples of what was served before."""
OVERLOAD_SECONDS = 20.0
OVERLOAD_CONNECTIONS = 200
OVERLOAD_TIMEOUT_SECONDS = 2.0
RECOVERY_SECONDS = 90.0
RECOVERY_CONNECTIONS = 32
STEADY_SECONDS = 5.0
"""How long every request must succeed before the platform counts as recovered."""
TIMEOUT_SECONDS = 30.0
WARM_UP_SECONDS = 60.0
HALF, WHOLE = 50_000, 100_000
LONG_STEP = 10_000
SAMPLED_ITEMS = 500
LONGEST_SHARED = 64
"""Maximum length of strings that the embedded AWS stores once for all items. A test compares it with the emulator's."""
TABLES = ("records_table", "audit_table")
RETRY_SECONDS = 0.5
TOKEN: Mapping[str, Any] = {
    "audience": "healthcare-dr",
    "subject": "bench",
    "tenant": "bench-clinic",
    "scopes": ("system/Patient.cruds",),
    "lifetime": timedelta(hours=4),
}
PATIENT = {"resourceType": "Patient", "active": True, "name": [{"family": "Fictitious", "given": ["Bench"]}]}
HEALTH = {"method": "GET", "path": "/health"}
ROUTE = "8 connections over both regions, through the edge proxies, with a load client in a process of its own. "


def measure(say: Say, *, long: bool = False) -> list[Measurement]:
    """Deploy a platform and measure it. `long` adds 100,000 requests, about a quarter of an hour."""
    say("embedded: deploying, about two minutes")
    with deployed() as platform:
        say(f"embedded: {'about twenty' if long else 'about five'} minutes")
        return measurements(Measuring(Platform(platform), say).all(long=long))


def measurements(found: dict[str, Any]) -> list[Measurement]:
    """Return the measurements in the results of `Measuring.all`.

    Raises:
        BenchError: the platform did not recover from overload.
    """
    rows = [*_served(found), *_costs(found), *_idle(found), *_overload(found["overload"]), _memory(found)]
    return [*rows, _growth(*found["long"])] if "long" in found else rows


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
            f"{ROUTE}The reference makes calls from eight threads; a read by the API makes two, a token check and a "
            "function call.",
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
    ]


def _costs(found: dict[str, Any]) -> list[Measurement]:
    return [
        _row(
            f"cpu-{kind.replace('_', '-')}",
            "ms",
            Series("embedded AWS", tuple(sum(sample.values()) - sample["client"] for sample in samples)),
            Series("load client", tuple(sample["client"] for sample in samples)),
            f"Processor time for each request: {_by_process(samples)}.",
        )
        for kind, samples in found["cpu_ms"].items()
    ]


def _by_process(samples: list[dict[str, float]]) -> str:
    medians = {role: median(sample[role] for sample in samples) for role in samples[0]}
    return ", ".join(f"{role} {value:.2f} ms" for role, value in medians.items())


def _idle(found: dict[str, Any]) -> list[Measurement]:
    real = Series("real time", (sum(found["idle_percent"]["1"].values()),))
    fast = Series(f"time scale {SCALE}", (sum(found["idle_percent"][str(SCALE)].values()),))
    note = "Processor time of all processes without clients, as a share of a core: health checks, schedules, streams."
    return [
        _row("idle", "%", real, fast, note, Aim("measured", "most", 5)),
        _row("idle-fast", "%", fast, real, note, Aim("measured", "most", 20)),
    ]


def _overload(found: dict[str, Any]) -> list[Measurement]:
    if found["recovery_seconds"] is None:
        raise BenchError(f"the platform did not recover from overload: {found['statuses']}")
    return [
        _row(
            "overload",
            "per s",
            Series("successes while overloaded", (found["goodput"],)),
            Series("served before", (found["capacity"],)),
            f"200 connections offer {found['offered']:.0f} reads per second for 20 s, with a timeout of 2 s.",
            Aim("ratio", "least", 0.5),
        ),
        _row(
            "recovery",
            "s",
            Series("until every request succeeds", (found["recovery_seconds"],)),
            Series("overload", (20.0,)),
            "From the end of the overload, with half of the served load, until 5 s without a failure.",
            Aim("measured", "most", 5),
        ),
    ]


def _memory(found: dict[str, Any]) -> Measurement:
    memory = found["memory_mb"]
    return _row(
        "memory",
        "MB",
        Series("after the measurements", (sum(memory["used"].values()),)),
        Series("when deployed", (sum(memory["deployed"].values()),)),
        "Proportional set size of all processes, including functions.",
        Aim("measured", "most", 1000),
    )


def _growth(half: dict[str, Any], whole: dict[str, Any]) -> Measurement:
    return _row(
        "growth",
        "MB",
        Series("at request 100,000", (beyond_stored(whole),)),
        Series("at request 50,000", (beyond_stored(half),)),
        f"Memory beyond stored items and objects. Stored: {_stored(half)}, then {_stored(whole)}. Memory of items: "
        "their number times the average of a sample as Python values.",
        Aim("ratio", "most", 1.05),
    )


def beyond_stored(step: dict[str, Any]) -> float:
    """Return the megabytes of memory beyond stored items. Objects are stored on disk."""
    return float(sum(step["memory_mb"].values())) - float(step["resident_item_bytes"]) / 1e6


def _stored(step: dict[str, Any]) -> str:
    stored, resident, objects = (step[name] / 1e6 for name in ("item_bytes", "resident_item_bytes", "object_bytes"))
    return (
        f"{step['items']:,} items of {stored:.0f} MB, which take {resident:.0f} MB, "
        f"and {step['objects']:,} objects of {objects:.0f} MB"
    )


class Platform:
    """The endpoints and processes of a deployed platform."""

    def __init__(self, platform: Deployed) -> None:
        self._state = platform.home / "embedded" / platform.suffix / "state"
        self.emulator = Emulator(home=platform.home.absolute() / "emulator", port=platform.port)

    @cached_property
    def outputs(self) -> dict[str, dict[str, str]]:
        """The outputs of each stack, from Terraform's states."""
        found = {}
        for stack in ("primary", "secondary", "global"):
            state = json.loads((self._state / f"healthcare-dr-{stack}.tfstate").read_text(encoding="utf-8"))
            found[stack] = {name: str(output["value"]) for name, output in state["outputs"].items()}
        return found

    @cached_property
    def apis(self) -> dict[str, str]:
        """The id of each region's API."""
        return {self.outputs[stack]["region"]: self.outputs[stack]["api_id"] for stack in ("primary", "secondary")}

    @cached_property
    def roots(self) -> dict[str, int]:
        """The process ids of the embedded AWS, by role."""
        return {str(role): pid for role, pid in self.emulator.processes().items()}

    @cached_property
    def targets(self) -> list[dict[str, Any]]:
        """The APIs of both regions for the load client."""
        proxies = self.emulator.edge_addresses()
        return [edge_target(api, region, *proxies[region]) for region, api in self.apis.items()]

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client of the embedded AWS."""
        config = Config(max_pool_connections=CONNECTIONS, retries={"total_max_attempts": 1})
        return aws_client(self.emulator, service, region, config=config)


def edge_target(api: str, region: str, address: str, port: int) -> dict[str, Any]:
    """Return a region's edge proxy as a target of the load client, called by the API's host name."""
    return {"address": address, "port": port, "host": f"{api}.execute-api.{region}.amazonaws.com"}


def rate_of(outcome: dict[str, Any]) -> float:
    """Return the successes per second. Raises BenchError when a request failed."""
    failed = {status: number for status, number in outcome["statuses"].items() if not status.startswith("2")}
    if failed or not outcome["statuses"]:
        raise BenchError(f"requests failed while the rate was measured: {failed or 'none was sent'}")
    return float(sum(outcome["statuses"].values()) / outcome["seconds"])


def cpu_per_request(before: dict[str, float], after: dict[str, float], requests: int) -> dict[str, float]:
    """Return the milliseconds of processor time per request, by role."""
    return {role: (after[role] - before[role]) * 1000 / requests for role in after}


def recovered_after(outcome: dict[str, Any]) -> float | None:
    """Return the seconds from the start of a probe until its last failure ended.

    None if the probe did not continue for `STEADY_SECONDS` after it.
    """
    last = float(outcome["last_failure"] or 0.0)
    return last if outcome["seconds"] - last >= STEADY_SECONDS else None


def resident_bytes(value: Any, known: set[Any] | None = None) -> int:
    """Return the bytes of memory of a value with its contents.

    Equal short strings count once, alone or as the value of an attribute (`{"S": "a"}`), because the embedded AWS
    stores one object for them. `known` contains those that were counted before.
    """
    known = set() if known is None else known
    shared = value if isinstance(value, str) else tuple(value.items()) if _is_string_value(value) else None
    if shared is not None and len(shared) <= LONGEST_SHARED:
        if shared in known:
            return 0
        known.add(shared)
    inside: list[Any] = []
    if isinstance(value, dict):
        inside = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set):
        inside = list(value)
    return sys.getsizeof(value) + sum(resident_bytes(item, known) for item in inside)


def _is_string_value(value: Any) -> bool:
    return isinstance(value, dict) and list(value) == ["S"] and len(value["S"]) <= LONGEST_SHARED


def wire_bytes(item: Any) -> int:
    """Return the approximate size of an item by DynamoDB's rules: names and values, without the types."""
    if isinstance(item, dict):
        return sum(len(str(name)) + wire_bytes(next(iter(value.values()))) for name, value in item.items())
    if isinstance(item, list):
        return sum(wire_bytes(next(iter(value.values())) if isinstance(value, dict) else value) for value in item)
    return len(item) if isinstance(item, bytes) else len(str(item).encode())


class Measuring:
    """Run the measurements on one platform."""

    def __init__(self, platform: Platform, say: Say) -> None:
        self._platform = platform
        self._say = say
        self._bearer = {"Authorization": f"Bearer {platform.emulator.token(**TOKEN)}"}
        headers = self._bearer | {"Content-Type": "application/fhir+json"}
        self._write = {"method": "POST", "path": "/fhir/Patient", "headers": headers, "body": json.dumps(PATIENT)}
        self._reads: list[dict[str, Any]] = []

    def all(self, *, long: bool) -> dict[str, Any]:
        """Run all measurements and return the results as JSON."""
        found: dict[str, Any] = {"memory_mb": {"deployed": self._memory()}}
        found["idle_percent"] = {str(scale): self._idle(scale) for scale in (1, SCALE)}
        self._reads = self._make_patients()
        self._warm_up()
        found["served"], found["cpu_ms"] = {}, {}
        for kind, requests in (("reads", self._reads), ("writes", [self._write]), ("health", [HEALTH])):
            found["served"][kind], found["cpu_ms"][kind] = self._served(kind, requests)
        found["boto3"] = {"reads": self._bare("get"), "writes": self._bare("put")}
        found["overload"] = self._overload(median(found["served"]["reads"]))
        found["memory_mb"]["used"] = self._memory()
        if long:
            found["long"] = self._long()
        return found

    def _memory(self) -> dict[str, float]:
        return memory_megabytes(self._platform.roots)

    def _idle(self, scale: float) -> dict[str, float]:
        self._say(f"processor time without clients at time scale {scale:g}: {IDLE_SECONDS:.0f} s")
        self._platform.emulator.set_time_scale(scale)
        try:
            time.sleep(IDLE_SETTLE_SECONDS)
            before, began = cpu_seconds(self._platform.roots), time.monotonic()
            time.sleep(IDLE_SECONDS)
            after, seconds = cpu_seconds(self._platform.roots), time.monotonic() - began
        finally:
            self._platform.emulator.set_time_scale(1.0)
        return {role: (after[role] - before[role]) * 100 / seconds for role in after}

    def _make_patients(self) -> list[dict[str, Any]]:
        first = next(iter(self._platform.apis))
        url, made = self._platform.emulator.api_url(self._platform.apis[first]), []
        with httpx.Client(verify=str(self._platform.emulator.certificate), trust_env=False, timeout=30) as client:
            for _ in range(PATIENTS):
                answer = client.post(f"{url}/fhir/Patient", json=PATIENT, headers=self._bearer)
                answer.raise_for_status()
                made.append(str(answer.json()["id"]))
        return [{"method": "GET", "path": f"/fhir/Patient/{patient}", "headers": self._bearer} for patient in made]

    def _warm_up(self) -> None:
        """Start the functions and wait until both regions have the patients."""
        deadline = time.monotonic() + WARM_UP_SECONDS
        while time.monotonic() < deadline:
            outcome = self._load(self._reads, count=4 * PATIENTS)
            if set(outcome["statuses"]) == {"200"}:
                self._load([self._write], count=2 * CONNECTIONS)
                return
            time.sleep(RETRY_SECONDS)
        raise BenchError(f"the platform does not serve what was written: {outcome['statuses']}")

    def _served(self, kind: str, requests: list[dict[str, Any]]) -> tuple[list[float], list[dict[str, float]]]:
        rates, costs = [], []
        for number in range(1, ROUNDS + 1):
            self._say(f"{kind}: round {number} of {ROUNDS}")
            before = cpu_seconds(self._platform.roots)
            outcome = self._load(requests, seconds=ROUND_SECONDS)
            after = cpu_seconds(self._platform.roots)
            count = sum(outcome["statuses"].values())
            rates.append(rate_of(outcome))
            client = {"client": outcome["cpu_seconds"] * 1000 / count}
            costs.append(cpu_per_request(before, after, count) | client)
        return rates, costs

    def _load(self, requests: list[dict[str, Any]], **order: Any) -> dict[str, Any]:
        """Run the load client and return its outcome."""
        complete = {
            "ca": str(self._platform.emulator.certificate),
            "targets": self._platform.targets,
            "requests": requests,
            "connections": CONNECTIONS,
            "timeout": TIMEOUT_SECONDS,
            **order,
        }
        child = subprocess.run(
            [sys.executable, "-m", "bench.processes.load"],
            input=json.dumps(complete),
            capture_output=True,
            text=True,
            cwd=CHECKOUT,
            check=False,
        )
        if child.returncode != 0:
            raise BenchError(f"the load client ended with {child.returncode}: {child.stderr.strip()[-300:]}")
        outcome: dict[str, Any] = json.loads(child.stdout)
        return outcome

    def _bare(self, kind: str) -> list[float]:
        """Return the calls per second of boto3 to DynamoDB from eight threads, over both regions."""
        name = self._platform.outputs["global"]["records_table"]
        clients = [self._platform.client("dynamodb", region) for region in self._platform.apis]
        rates = []
        for number in range(1, ROUNDS + 1):
            self._say(f"boto3, {kind}: round {number} of {ROUNDS}")
            ended = threading.Event()

            def call(client: Any, ended: threading.Event = ended) -> int:
                calls = 0
                while not ended.is_set():
                    key = {"pk": {"S": f"bench#{threading.get_ident()}"}, "sk": {"S": str(calls % 10)}}
                    if kind == "get":
                        client.get_item(TableName=name, Key=key)
                    else:
                        client.put_item(TableName=name, Item=key | {"body": {"S": json.dumps(PATIENT)}})
                    calls += 1
                return calls

            with ThreadPoolExecutor(CONNECTIONS) as pool:
                began = time.monotonic()
                chosen = cycle(clients)
                calling = [pool.submit(call, next(chosen)) for _ in range(CONNECTIONS)]
                time.sleep(ROUND_SECONDS)
                ended.set()
                calls = sum(future.result() for future in calling)
                rates.append(calls / (time.monotonic() - began))
        return rates

    def _overload(self, capacity: float) -> dict[str, Any]:
        """Offer more than the platform serves, then half of that until every request succeeds again."""
        self._say(f"overload: {OVERLOAD:g} times {capacity:.0f} reads per second for {OVERLOAD_SECONDS:.0f} s")
        during = self._load(
            self._reads,
            seconds=OVERLOAD_SECONDS,
            rate=OVERLOAD * capacity,
            connections=OVERLOAD_CONNECTIONS,
            timeout=OVERLOAD_TIMEOUT_SECONDS,
        )
        recovery, waited = None, 0.0
        while recovery is None and waited < RECOVERY_SECONDS:
            self._say(f"overload: recovering for {waited:.0f} s")
            probe = self._load(
                self._reads,
                seconds=3 * STEADY_SECONDS,
                rate=capacity / 2,
                connections=RECOVERY_CONNECTIONS,
                timeout=OVERLOAD_TIMEOUT_SECONDS,
            )
            after = recovered_after(probe)
            recovery = None if after is None else waited + after
            waited += probe["seconds"]
        succeeded = sum(number for status, number in during["statuses"].items() if status.startswith("2"))
        return {
            "capacity": capacity,
            "offered": sum(during["statuses"].values()) / OVERLOAD_SECONDS,
            "goodput": succeeded / during["seconds"],
            "statuses": during["statuses"],
            "recovery_seconds": recovery,
        }

    def _long(self) -> list[dict[str, Any]]:
        """Return memory and stored data after half and all requests: 80 % reads, 10 % writes, 10 % health checks."""
        mixed, steps = [*self._reads[:8], self._write, HEALTH], []
        for sent in range(LONG_STEP, WHOLE + 1, LONG_STEP):
            self._say(f"long run: request {sent:,} of {WHOLE:,}")
            self._load(mixed, count=LONG_STEP)
            if sent in (HALF, WHOLE):
                steps.append(self._stock())
        return steps

    def _stock(self) -> dict[str, Any]:
        """Return memory, and the stored items and objects with their sizes."""
        items = stored = resident = objects = object_bytes = 0
        for number, region in enumerate(self._platform.apis):
            dynamodb, s3 = self._platform.client("dynamodb", region), self._platform.client("s3", region)
            for table in TABLES:
                name = self._platform.outputs["global"][table]
                count = int(dynamodb.describe_table(TableName=name)["Table"]["ItemCount"])
                sample = dynamodb.scan(TableName=name, Limit=SAMPLED_ITEMS)["Items"]
                items += count
                if sample:
                    stored += count * sum(map(wire_bytes, sample)) // len(sample)
                    # Replicas of an item share one object.
                    resident += 0 if number else count * resident_bytes(sample) // len(sample)
            for bucket in s3.list_buckets()["Buckets"]:
                if region not in bucket["Name"]:
                    continue
                for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                    objects += len(page.get("Contents", ()))
                    object_bytes += sum(found["Size"] for found in page.get("Contents", ()))
        return {
            "memory_mb": self._memory(),
            "items": items,
            "item_bytes": stored,
            "resident_item_bytes": resident,
            "objects": objects,
            "object_bytes": object_bytes,
        }
