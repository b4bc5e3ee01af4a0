"""Helpers for the processes of the embedded AWS: list them, start them in scripts, and wait for their end."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from healthcare_dr.emulator import Emulator

Clients = Callable[..., Any]

SHOW_ENVIRONMENT = "import os\n\ndef handler(event, context):\n    print('called')\n    return dict(os.environ)\n"
START = """
import sys
from pathlib import Path
from healthcare_dr.emulator import Emulator
Emulator(home=Path(sys.argv[1]), port=int(sys.argv[2])).start()
print("started", flush=True)
sys.stdin.read()
"""
OWNED = """
import os
import sys
from pathlib import Path
from healthcare_dr.emulator import Emulator
Emulator(home=Path(sys.argv[1]), port=int(sys.argv[2]), ends_with=os.getpid()).start()
print("started", flush=True)
sys.stdin.read()
"""
RUN = """
import sys
from pathlib import Path
from healthcare_dr.emulator.configuration import Ports
from healthcare_dr.emulator.configuration import Layout
from healthcare_dr.emulator.locks import is_locked
from healthcare_dr.emulator.process import run
from healthcare_dr.emulator.services.server import services
home, port = sys.argv[1:]
ports = Ports(account="123456789012", port=int(port), regions=("us-east-1", "us-west-2"))
"""
# The state of a listening socket in /proc/net, by protocol.
WAITING = {"tcp": "0A", "udp": "07"}


def pid_of(emulator: Emulator) -> int:
    """Return the id of its services process, also after it has ended."""
    return int(json.loads((emulator.home / "services.json").read_text())["pid"])


def processes_of(emulator: Emulator) -> list[int]:
    """Return the ids of its processes and of the functions' processes."""
    own = list(emulator.processes().values())
    return own + [process for pid in own for process in descendants_of(pid)]


def descendants_of(pid: int) -> list[int]:
    """Return the ids of its children and of theirs: functions' processes are children of the fork server."""
    return [process for child in children_of(pid) for process in (child, *descendants_of(child))]


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that it has started and that still run."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], check=True, capture_output=True, text=True).stdout  # noqa: S607
    pairs = [line.split() for line in listing.splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


def listening(emulator: Emulator, protocol: str) -> set[tuple[str, int]]:
    """Return the addresses on which its processes listen; IPv6 addresses in the format of the kernel."""
    files = [entry for pid in emulator.processes().values() for entry in Path(f"/proc/{pid}/fd").iterdir()]
    sockets = {str(entry.readlink()) for entry in files if entry.is_symlink()}
    found = set()
    for table in (protocol, f"{protocol}6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == WAITING[protocol] and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                raw = bytes.fromhex(address)
                found.add((socket.inet_ntoa(raw[::-1]) if len(raw) == 4 else address, int(port, 16)))
    return found


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
    """Run a script in a process, which is killed if it has not ended."""
    arguments = [str(emulator.home), str(emulator.port)]
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


def runs(emulator: Emulator, parent: "subprocess.Popen[str]") -> bool:
    """Wait for its services process, and return whether it runs. Fail with the output of `parent` if that ends."""
    deadline = time.monotonic() + 30
    while "services" not in emulator.processes() and time.monotonic() < deadline:
        assert parent.poll() is None, parent.communicate()
        time.sleep(0.01)
    return "services" in emulator.processes()


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
