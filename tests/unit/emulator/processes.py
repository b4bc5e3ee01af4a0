"""Helpers for the processes of the embedded AWS: list them, start them in scripts, and wait for their end."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from healthcare_dr.emulator.emulator import Emulator
from unit.emulator.aws import Aws, eventually

SHOW_ENVIRONMENT = "import os\n\ndef handler(event, context):\n    print('called')\n    return dict(os.environ)\n"
START = """
import os
import sys
from pathlib import Path
from healthcare_dr.emulator.emulator import Emulator
Emulator(home=Path(sys.argv[1]), port=int(sys.argv[2]), ends_with=OWNER).start()
print("started", flush=True)
sys.stdin.read()
"""
RUN = """
import sys
from pathlib import Path
from healthcare_dr.emulator.configuration import Layout, Ports
from healthcare_dr.emulator.files import is_locked
from healthcare_dr.emulator.process import run
from healthcare_dr.emulator.services.server import serve
home, port = sys.argv[1:]
layout = Layout(Path(home))
ports = Ports(account="123456789012", port=int(port), regions=("us-east-1", "us-west-2"))
"""
SERVE = "run('services', layout, ports, owner=None, serve=serve)\n"
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
    return bool(eventually(lambda: not lives(pid), within=10))


@contextmanager
def script(source: str, emulator: Emulator) -> Iterator[subprocess.Popen[str]]:
    """Run a script in a process, which is killed if it has not ended."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", source, str(emulator.home), str(emulator.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        ExitStack() as end,
    ):
        end.callback(process.kill)
        yield process


@contextmanager
def started(emulator: Emulator, *, owner: str = "None") -> Iterator[subprocess.Popen[str]]:
    """Start the emulator in another process, whose owner is given as an expression of Python."""
    with script(START.replace("OWNER", owner), emulator) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        yield parent


def runs(emulator: Emulator, parent: "subprocess.Popen[str]") -> bool:
    """Wait for its services process, and return whether it runs. Fail with the output of `parent` if that ends."""

    def found() -> bool:
        assert parent.poll() is None, parent.communicate()
        return "services" in emulator.processes()

    return bool(eventually(found))


def create_one_of_each(aws: Aws) -> str:
    aws.table(name="table")
    aws("dynamodb").put_item(TableName="table", Item={"pk": {"S": "kept"}})
    aws("s3").create_bucket(Bucket="bucket")
    aws("s3").put_object(Bucket="bucket", Key="key", Body=b"kept")
    return str(aws("kms").create_key()["KeyMetadata"]["KeyId"])
