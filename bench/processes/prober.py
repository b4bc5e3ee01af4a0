"""The drill's clients and a bare httpx client against one server: prints milliseconds, by side, as JSON."""

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bench.ports import free_port
from bench.processes.answering import NAME
from bench.running import BenchError, scratch_folder
from healthcare_dr.ops.drill.experiment import Load
from healthcare_dr.ops.drill.load.generator import LoadGenerator
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.resolver import Answer

ROUNDS = 4
SECONDS = 6.0
WITHIN_SECONDS = 20.0
PATH = "/fhir/metadata"
HEADERS = {"Authorization": f"Bearer {'x' * 900}", "Accept": "application/fhir+json"}
# Reads alone: what is written needs an API that acknowledges.
LOAD: dict[str, Any] = {
    name: 0.0 if name.endswith("_percent") else value for name, value in Load(rate=20).model_dump().items()
}


@dataclass(frozen=True)
class Resolver:
    """Leads the name to the server."""

    port: int

    async def resolve(self, name: str) -> Answer:
        """At once: who asks keeps it for the TTL."""
        del name
        return Answer("bench.execute-api.us-east-1.amazonaws.com", "127.0.0.1", self.port, 10.0)


@dataclass
class Side:
    """Milliseconds: of each request, and of processor time for each request of a round."""

    latency: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, latencies: list[float], cpu_seconds: float) -> None:
        """Add a round. Raises BenchError when nothing succeeded in it."""
        if not latencies:
            raise BenchError("no request succeeded; the server does not answer")
        self.latency += latencies
        self.cpu.append(cpu_seconds * 1000 / len(latencies))


@contextmanager
def serving() -> Iterator[tuple[int, ssl.SSLContext]]:
    """The server's port and what trusts it."""
    with scratch_folder() as folder:
        port, authority = free_port(), folder / "authority.pem"
        server = subprocess.Popen([sys.executable, "-m", "bench.processes.answering", str(port), str(folder)])
        try:
            yield port, trusting(authority, port)
        finally:
            server.terminate()
            server.wait()


def trusting(authority: Path, port: int) -> ssl.SSLContext:
    """What trusts the server, once it answers."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        try:
            context = ssl.create_default_context(cafile=str(authority))
            httpx.get(f"https://127.0.0.1:{port}{PATH}", verify=context, trust_env=False)
        except (OSError, httpx.TransportError):
            time.sleep(0.1)
        else:
            return context
    raise BenchError("the server does not answer")


def with_prober(port: int, trust: ssl.SSLContext) -> tuple[list[float], float]:
    """One round with the drill's clients: latencies in ms, and processor time in seconds."""
    with httpx.Client(verify=trust, trust_env=False) as client:
        ledger = Ledger(endpoints={}, buckets={}, token="", client=client, clock=time.monotonic)
        prober = LoadGenerator(
            name=NAME,
            make_resolver=lambda: Resolver(port),
            token="x" * 900,
            ca=trust,
            clock=time.monotonic,
            ledger=ledger,
            drill_id="bench",
            **LOAD,
        )
        before = time.process_time()
        prober.start()
        time.sleep(SECONDS)
        prober.stop()
        spent = time.process_time() - before
    return [sample.seconds * 1000 for sample in prober.samples() if sample.succeeded], spent


def with_httpx(port: int, trust: ssl.SSLContext) -> tuple[list[float], float]:
    """The same with one client and nothing else."""

    async def loop() -> list[float]:
        latencies = []
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
        async with httpx.AsyncClient(verify=trust, trust_env=False, limits=limits) as client:
            began = time.monotonic()
            for number in range(int(SECONDS * LOAD["rate"])):
                due = began + number / LOAD["rate"]
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                answer = await client.get(
                    f"https://127.0.0.1:{port}{PATH}",
                    headers={**HEADERS, "Host": NAME},
                    extensions={"sni_hostname": NAME},
                )
                if answer.is_success:
                    latencies.append((time.monotonic() - due) * 1000)
        return latencies

    before = time.process_time()
    latencies = asyncio.run(loop())
    return latencies, time.process_time() - before


def main() -> None:
    """Print what was measured."""
    sides = {"prober": Side(), "httpx": Side()}
    with serving() as (port, trust):
        for _ in range(ROUNDS):
            sides["prober"].add(*with_prober(port, trust))
            sides["httpx"].add(*with_httpx(port, trust))
    print(json.dumps({name: {"latency": side.latency, "cpu": side.cpu} for name, side in sides.items()}))


if __name__ == "__main__":
    main()
