"""Processes of the embedded AWS, seen from outside: which there are, and whether they have ended."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from healthcare_dr.emulator import Emulator

Clients = Callable[..., Any]

SHOW_ENVIRONMENT = "import os\n\ndef handler(event, context):\n    print('called')\n    return dict(os.environ)\n"
START = """
import sys
from pathlib import Path
from healthcare_dr.emulator import Emulator
Emulator(home=Path(sys.argv[1]), port=int(sys.argv[2]), issuer_port=int(sys.argv[3])).start()
print("started", flush=True)
sys.stdin.read()
"""
RUN = """
import sys
from pathlib import Path
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.locks import held
from healthcare_dr.emulator.process import run
home, *ports = sys.argv[1:]
ports = Ports(account="123456789012", port=int(ports[0]), issuer_port=int(ports[1]))
"""
LISTENING = "0A"
LOOPBACK = "0100007F"


def pid_of(emulator: Emulator) -> int:
    return int(json.loads((emulator.home / "process.json").read_text())["pid"])


def children_of(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True, text=True).stdout  # noqa: S607
    pairs = [line.split() for line in listing.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ends(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while lives(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not lives(pid)


@contextmanager
def script(source: str, emulator: Emulator) -> Iterator[subprocess.Popen[str]]:
    """A process of its own, which is ended if it does not end by itself."""
    arguments = [str(emulator.home), str(emulator.port), str(emulator.issuer_port)]
    with (
        subprocess.Popen(
            [sys.executable, "-c", source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        ExitStack() as end,
    ):
        end.callback(process.kill)
        yield process


def runs(emulator: Emulator) -> bool:
    deadline = time.monotonic() + 30
    while not emulator.running() and time.monotonic() < deadline:
        time.sleep(0.01)
    return emulator.running()


def create_one_of_each(client: Clients) -> str:
    client("dynamodb").create_table(
        TableName="table",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client("dynamodb").put_item(TableName="table", Item={"pk": {"S": "kept"}})
    client("s3").create_bucket(Bucket="bucket")
    client("s3").put_object(Bucket="bucket", Key="key", Body=b"kept")
    return str(client("kms").create_key()["KeyMetadata"]["KeyId"])
