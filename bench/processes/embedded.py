"""Measures a running embedded AWS, of this checkout or of another one, and prints what was found as JSON.

    python -m bench.processes.embedded --home <HDR_HOME> --suffix <suffix> --port <port> [--checkout <folder>] [--long]

Another checkout needs its own `.venv` and a platform that its `hdr up` has deployed. Only the load differs between
runs, so results of two checkouts can be compared when they were measured in turn on the same machine.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from bench.processtree import cpu_seconds, memory_megabytes
from bench.running import CHECKOUT, BenchError, run

CONNECTIONS = 8
ROUNDS = 3
ROUND_SECONDS = 6.0
IDLE_SECONDS = 60.0
"""A whole round of the schedules, which run every minute."""
IDLE_SETTLE_SECONDS = 10.0
FAST = 10.0
"""The time scale of a drill that is sped up, and the one measured here."""
PATIENTS = 10
OVERLOAD = 3.0
"""Offered load while overloaded, in multiples of what was served before."""
OVERLOAD_SECONDS = 20.0
OVERLOAD_CONNECTIONS = 200
OVERLOAD_TIMEOUT_SECONDS = 2.0
RECOVERY_SECONDS = 90.0
RECOVERY_CONNECTIONS = 32
STEADY_SECONDS = 5.0
"""How long every request has to succeed before the platform counts as recovered."""
TIMEOUT_SECONDS = 30.0
LONG_REQUESTS = 100_000
LONG_STEP = 10_000
SAMPLED_ITEMS = 500
LONGEST_SHARED = 64
"""Characters of a string that the embedded AWS keeps once for all items; a test compares it with the emulator's."""
TABLES = ("records_table", "audit_table")
ONCE_MORE_SECONDS = 0.5
NAMES = {"audience": "healthcare-dr", "subject": "bench", "tenant": "bench-clinic"}
SCOPES = ("system/Patient.cruds",)
PATIENT = {"resourceType": "Patient", "active": True, "name": [{"family": "Fictitious", "given": ["Bench"]}]}

# Run by the checkout's own interpreter. `processes` exists where the embedded AWS has more than one.
_DESCRIBE = """
import json, sys
from datetime import timedelta
from pathlib import Path
from healthcare_dr.emulator import Emulator
order = json.loads(sys.argv[1])
home = Path(order["home"])
emulator = Emulator(home=home, port=order["port"])
if order["time_scale"] is not None:
    emulator.set_time_scale(order["time_scale"])
if hasattr(emulator, "processes"):
    processes = emulator.processes()
else:
    processes = {"embedded": json.loads((home / "process.json").read_text())["pid"]}
print(json.dumps({
    "processes": processes,
    "doors": emulator.edge_addresses(),
    "certificate": str(emulator.certificate),
    "environment": emulator.environment(),
    "token": emulator.token(
        subject=order["subject"], tenant=order["tenant"], scopes=order["scopes"], audience=order["audience"],
        lifetime=timedelta(hours=4),
    ),
    "urls": {region: emulator.api_url(api) for region, api in order["apis"].items()},
}))
"""


@dataclass(frozen=True)
class Platform:
    """A deployed platform, seen from outside."""

    checkout: Path
    home: Path
    suffix: str
    port: int

    @cached_property
    def outputs(self) -> dict[str, dict[str, str]]:
        """The outputs of each stack, from Terraform's states."""
        folder = self.home / "embedded" / self.suffix / "state"
        found = {}
        for stack in ("primary", "secondary", "global"):
            state = json.loads((folder / f"healthcare-dr-{stack}.tfstate").read_text(encoding="utf-8"))
            found[stack] = {name: str(output["value"]) for name, output in state["outputs"].items()}
        return found

    @cached_property
    def apis(self) -> dict[str, str]:
        """The id of each region's API."""
        return {self.outputs[stack]["region"]: self.outputs[stack]["api_id"] for stack in ("primary", "secondary")}

    @cached_property
    def described(self) -> dict[str, Any]:
        """What the checkout says of its embedded AWS."""
        return self._ask(None)

    def set_time_scale(self, scale: float) -> None:
        """Speed health checks up, or back to 1."""
        self._ask(scale)

    def _ask(self, time_scale: float | None) -> dict[str, Any]:
        home = str(self.home.absolute() / "emulator")
        order = {"home": home, "port": self.port, "time_scale": time_scale, "apis": self.apis, "scopes": SCOPES}
        interpreter = self.checkout / ".venv" / "bin" / "python"
        command = [interpreter if interpreter.exists() else sys.executable, "-c", _DESCRIBE, json.dumps(order | NAMES)]
        described: dict[str, Any] = json.loads(run(command, folder=self.checkout).output)
        return described

    @property
    def roots(self) -> dict[str, int]:
        """The embedded AWS's own processes, by role."""
        return {str(role): int(pid) for role, pid in self.described["processes"].items()}

    def targets(self, *, direct: bool = False) -> list[dict[str, Any]]:
        """Both regions' APIs for the load client: at their front doors, or at the services' own address."""
        return [
            direct_target(self.described["urls"][region])
            if direct
            else door_target(api, region, *self.described["doors"][region])
            for region, api in self.apis.items()
        ]

    def client(self, service: str, region: str) -> Any:
        """A boto3 client of the embedded AWS."""
        import boto3
        from botocore.config import Config

        environment = self.described["environment"]
        return boto3.Session(
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            region_name=region,
        ).client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            verify=environment["AWS_CA_BUNDLE"],
            config=Config(max_pool_connections=CONNECTIONS, retries={"total_max_attempts": 1}),
        )


def door_target(api: str, region: str, address: str, port: int) -> dict[str, Any]:
    """A region's front door, called by the API's host name."""
    return {"address": address, "port": port, "host": f"{api}.execute-api.{region}.amazonaws.com", "prefix": ""}


def direct_target(url: str) -> dict[str, Any]:
    """The address of an API at the services themselves, such as `https://127.0.0.1:14000/_aws/execute-api/<id>`."""
    host, _, path = url.removeprefix("https://").partition("/")
    address, _, port = host.partition(":")
    return {"address": address, "port": int(port or 443), "host": host, "prefix": f"/{path}".rstrip("/")}


def rate_of(outcome: dict[str, Any]) -> float:
    """Successes per second.

    Raises:
        BenchError: something failed, so it is no measurement of what is served.
    """
    failed = {status: number for status, number in outcome["statuses"].items() if not status.startswith("2")}
    if failed or not outcome["statuses"]:
        raise BenchError(f"requests failed while the rate was measured: {failed or 'none was sent'}")
    return float(sum(outcome["statuses"].values()) / outcome["seconds"])


def cpu_per_request(before: dict[str, float], after: dict[str, float], requests: int) -> dict[str, float]:
    """Milliseconds of processor time for each request, by role."""
    return {role: (after[role] - before[role]) * 1000 / requests for role in after}


def recovered_after(outcome: dict[str, Any]) -> float | None:
    """Seconds from the start of a probe until everything succeeded to its end; None if something failed too late.

    The last failure counts when it was answered. The probe must have gone on for `STEADY_SECONDS` after it.
    """
    last = float(outcome["last_failure"] or 0.0)
    return last if outcome["seconds"] - last >= STEADY_SECONDS else None


def resident_bytes(value: Any, known: set[Any] | None = None) -> int:
    """Bytes that a value takes in a Python process, with everything in it.

    The embedded AWS keeps one object for equal short strings, alone or as the value of an attribute (`{"S": "a"}`), so
    these count once. `known` holds those that were counted before.
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
    """About what DynamoDB counts for an item in its wire format: names and values, without the types."""
    if isinstance(item, dict):
        return sum(len(str(name)) + wire_bytes(next(iter(value.values()))) for name, value in item.items())
    if isinstance(item, list):
        return sum(wire_bytes(next(iter(value.values())) if isinstance(value, dict) else value) for value in item)
    return len(item) if isinstance(item, bytes) else len(str(item).encode())


class Measuring:
    """The measurements on one platform."""

    def __init__(self, platform: Platform, say: Callable[[str], None]) -> None:
        self._platform = platform
        self._say = say
        self._bearer = {"Authorization": f"Bearer {platform.described['token']}"}
        self._reads: list[dict[str, Any]] = []

    def all(self, *, long: bool) -> dict[str, Any]:
        """Everything, as JSON."""
        found: dict[str, Any] = {"memory_mb": {"deployed": self._memory()}}
        found["idle_percent"] = {"1": self._idle(1.0), str(int(FAST)): self._idle(FAST)}
        self._reads = self._make_patients()
        self._warm_up()
        found["served"], found["cpu_ms"] = {}, {}
        for kind, requests, direct in (
            ("reads", self._reads, False),
            ("writes", [self._write()], False),
            ("health", [self._health()], False),
            ("reads_direct", self._reads, True),
            ("health_direct", [self._health()], True),
        ):
            found["served"][kind], found["cpu_ms"][kind] = self._served(kind, requests, direct=direct)
        found["boto3"] = {"reads": self._bare("get"), "writes": self._bare("put")}
        found["overload"] = self._overload(median(found["served"]["reads"]))
        found["memory_mb"]["used"] = self._memory()
        if long:
            found["long"] = self._long()
            found["memory_mb"]["long"] = self._memory()
        return found

    def _memory(self) -> dict[str, float]:
        return memory_megabytes(self._platform.roots)

    def _idle(self, scale: float) -> dict[str, float]:
        self._say(f"processor time without clients at time scale {scale:g}: {IDLE_SECONDS:.0f} s")
        self._platform.set_time_scale(scale)
        try:
            time.sleep(IDLE_SETTLE_SECONDS)
            before, began = cpu_seconds(self._platform.roots), time.monotonic()
            time.sleep(IDLE_SECONDS)
            after, seconds = cpu_seconds(self._platform.roots), time.monotonic() - began
        finally:
            self._platform.set_time_scale(1.0)
        return {role: (after[role] - before[role]) * 100 / seconds for role in after}

    def _make_patients(self) -> list[dict[str, Any]]:
        import httpx

        first = next(iter(self._platform.apis))
        url, made = self._platform.described["urls"][first], []
        with httpx.Client(verify=self._platform.described["certificate"], trust_env=False, timeout=30) as client:
            for _ in range(PATIENTS):
                answer = client.post(f"{url}/fhir/Patient", json=PATIENT, headers=self._bearer)
                answer.raise_for_status()
                made.append(str(answer.json()["id"]))
        return [{"method": "GET", "path": f"/fhir/Patient/{patient}", "headers": self._bearer} for patient in made]

    def _warm_up(self) -> None:
        """Start the functions, and wait until the patients have reached both regions."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            outcome = self._load(self._reads, count=4 * PATIENTS)
            if set(outcome["statuses"]) == {"200"}:
                self._load([self._write()], count=2 * CONNECTIONS)
                return
            time.sleep(ONCE_MORE_SECONDS)
        raise BenchError(f"the platform does not serve what was written: {outcome['statuses']}")

    def _write(self) -> dict[str, Any]:
        headers = self._bearer | {"Content-Type": "application/fhir+json"}
        return {"method": "POST", "path": "/fhir/Patient", "headers": headers, "body": json.dumps(PATIENT)}

    @staticmethod
    def _health() -> dict[str, Any]:
        return {"method": "GET", "path": "/health"}

    def _served(
        self, kind: str, requests: list[dict[str, Any]], *, direct: bool
    ) -> tuple[list[float], list[dict[str, float]]]:
        rates, costs = [], []
        for number in range(1, ROUNDS + 1):
            self._say(f"{kind}: round {number} of {ROUNDS}")
            before = cpu_seconds(self._platform.roots)
            outcome = self._load(requests, seconds=ROUND_SECONDS, direct=direct)
            after = cpu_seconds(self._platform.roots)
            count = sum(outcome["statuses"].values())
            rates.append(rate_of(outcome))
            client = {"client": outcome["cpu_seconds"] * 1000 / count}
            costs.append(cpu_per_request(before, after, count) | client)
        return rates, costs

    def _load(self, requests: list[dict[str, Any]], *, direct: bool = False, **order: Any) -> dict[str, Any]:
        """Run the load client in a process of its own."""
        targets = self._platform.targets(direct=direct)
        complete = {
            "ca": self._platform.described["certificate"],
            "targets": targets,
            "requests_of": [requests for _ in targets],
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
        """Calls per second that boto3 makes to DynamoDB from eight threads, over both regions."""
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
        """Offer more than is served, then half of what is served until every request succeeds again."""
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
            "succeeded_by_second": during["succeeded"],
            "recovery_seconds": recovery,
        }

    def _long(self) -> list[dict[str, Any]]:
        """Memory and stored data after each step of many requests: eight reads of ten, one write, one health check."""
        mixed = [*self._reads[:8], self._write(), self._health()]
        steps = [self._stock(0)]
        for sent in range(LONG_STEP, LONG_REQUESTS + 1, LONG_STEP):
            self._say(f"long run: request {sent:,} of {LONG_REQUESTS:,}")
            outcome = self._load(mixed, count=LONG_STEP)
            failed = {status: number for status, number in outcome["statuses"].items() if not status.startswith("2")}
            steps.append(self._stock(sent) | {"rate": LONG_STEP / outcome["seconds"], "failed": failed})
        return steps

    def _stock(self, sent: int) -> dict[str, Any]:
        """Memory, and what is stored: items with their bytes, and about what they take in a Python process."""
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
                    # The replicas of an item are one object.
                    resident += 0 if number else count * resident_bytes(sample) // len(sample)
            for bucket in s3.list_buckets()["Buckets"]:
                if region not in bucket["Name"]:
                    continue
                for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket["Name"]):
                    objects += len(page.get("Contents", ()))
                    object_bytes += sum(found["Size"] for found in page.get("Contents", ()))
        return {
            "requests": sent,
            "memory_mb": self._memory(),
            "items": items,
            "item_bytes": stored,
            "resident_item_bytes": resident,
            "objects": objects,
            "object_bytes": object_bytes,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--home", type=Path, required=True, help="HDR_HOME of the running platform")
    parser.add_argument("--suffix", default="dev", help="its ENVIRONMENT_SUFFIX")
    parser.add_argument("--port", type=int, required=True, help="its HDR_EMULATOR_PORT")
    parser.add_argument("--checkout", type=Path, default=CHECKOUT, help="where its code is")
    parser.add_argument("--long", action="store_true", help=f"also {LONG_REQUESTS:,} requests, about a quarter hour")
    chosen = parser.parse_args(arguments)
    platform = Platform(chosen.checkout, chosen.home, chosen.suffix, chosen.port)
    measuring = Measuring(platform, lambda text: print(text, file=sys.stderr, flush=True))
    print(json.dumps(measuring.all(long=chosen.long)))


if __name__ == "__main__":
    main()
