"""The embedded AWS starts, keeps what it holds, and leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from healthcare_dr.emulator import Emulator
from healthcare_dr.errors import EmulatorError

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


@pytest.fixture
def fresh(make_emulator: Callable[..., Emulator]) -> Emulator:
    return make_emulator()


def test_a_restart_keeps_everything(fresh: Emulator, clients_of: Callable[[Emulator], Clients]) -> None:
    fresh.start()
    client = clients_of(fresh)
    key = create_one_of_each(client)
    sealed = client("kms").encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
    fresh.stop()
    assert not fresh.running()
    assert not fresh.lost_state()

    fresh.start()
    assert client("dynamodb").get_item(TableName="table", Key={"pk": {"S": "kept"}})["Item"]
    assert client("s3").get_object(Bucket="bucket", Key="key")["Body"].read() == b"kept"
    assert client("kms").decrypt(CiphertextBlob=sealed)["Plaintext"] == b"kept"
    assert not fresh.lost_state()


def test_starting_and_stopping_twice_does_no_harm(fresh: Emulator) -> None:
    fresh.stop()
    fresh.start()
    first = pid_of(fresh)
    fresh.start()
    assert pid_of(fresh) == first
    fresh.stop()
    fresh.stop()
    assert not lives(first)


def test_two_starts_at_once_make_one_process(fresh: Emulator) -> None:
    errors: list[EmulatorError] = []

    def start() -> None:
        try:
            fresh.start()
        except EmulatorError as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert fresh.running()


def test_it_ends_with_its_functions_and_leaves_no_temporary_file(
    fresh: Emulator, clients_of: Callable[[Emulator], Clients], make_function: Callable[..., str]
) -> None:
    fresh.start()
    function = make_function(clients_of(fresh), "worker", SHOW_ENVIRONMENT)
    clients_of(fresh)("lambda").invoke(FunctionName=function)
    process = pid_of(fresh)
    workers = children_of(process)
    assert workers
    fresh.stop()
    assert not lives(process)
    assert not [worker for worker in workers if lives(worker)]
    assert not list((fresh.home / "tmp").iterdir())


def test_functions_see_nothing_of_the_operators_environment(
    fresh: Emulator,
    clients_of: Callable[[Emulator], Clients],
    make_function: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as operator:
        for name in ("AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "HDR_HOME", "GITHUB_TOKEN", "HTTPS_PROXY"):
            operator.setenv(name, "of-the-operator")
        fresh.start()
        child = fresh.child_environment(os.environ)
    function = make_function(clients_of(fresh), "curious", SHOW_ENVIRONMENT)
    payload = clients_of(fresh)("lambda").invoke(FunctionName=function)["Payload"].read().decode()
    assert json.loads(payload)["AWS_REGION"] == "us-east-1"
    assert "of-the-operator" not in payload
    assert fresh.environment()["AWS_SECRET_ACCESS_KEY"] not in payload
    assert b"of-the-operator" not in Path(f"/proc/{pid_of(fresh)}/environ").read_bytes()
    assert "AWS_PROFILE" not in child
    assert child["HDR_HOME"] == "of-the-operator"


def test_it_listens_on_loopback_only(emulator: Emulator) -> None:
    sockets = {
        Path(entry).resolve().name for entry in Path(f"/proc/{pid_of(emulator)}/fd").iterdir() if entry.is_symlink()
    }
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                address, port = fields[1].split(":")
                listening[int(port, 16)] = address
    assert listening == {emulator.port: LOOPBACK, emulator.issuer_port: LOOPBACK}


def test_secrets_are_for_their_owner_only(emulator: Emulator) -> None:
    assert emulator.home.stat().st_mode & 0o077 == 0
    for name in ("authority.key", "server.key", "root-secret", "token.key"):
        assert (emulator.home / "keys" / name).stat().st_mode & 0o777 == 0o600, name


@pytest.mark.parametrize("port", ["port", "issuer_port"])
def test_a_taken_port_is_named(fresh: Emulator, port: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", getattr(fresh, port)))
        other.listen()
        with pytest.raises(EmulatorError, match=f"port {getattr(fresh, port)} .*HDR_EMULATOR_PORT"):
            fresh.start()
    assert not fresh.running()
    assert not fresh.lost_state()


def test_a_second_start_with_other_ports_is_refused(emulator: Emulator, make_emulator: Callable[..., Emulator]) -> None:
    with pytest.raises(EmulatorError, match=f"already runs on port {emulator.port}.*HDR_EMULATOR_PORT"):
        make_emulator(emulator.home).start()


def test_a_stale_or_reused_process_number_deceives_nobody(fresh: Emulator) -> None:
    fresh.home.mkdir()
    bystander = subprocess.Popen(["sleep", "60"])  # noqa: S607
    record = {"pid": bystander.pid, "account": fresh.account, "port": fresh.port, "issuer_port": fresh.issuer_port}
    (fresh.home / "process.json").write_text(json.dumps(record))
    assert not fresh.running()
    fresh.stop()
    assert bystander.poll() is None
    fresh.start()
    assert pid_of(fresh) != bystander.pid
    bystander.kill()
    bystander.wait()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, make_emulator: Callable[..., Emulator]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmulatorError, match=r"cannot keep its state in .*HDR_HOME"):
        make_emulator(tmp_path / "file" / "home").start()


def test_a_crash_at_the_start_shows_the_end_of_the_log(fresh: Emulator) -> None:
    fresh.start()
    fresh.stop()
    (fresh.home / "keys" / "token.key").write_text("no key")
    with pytest.raises(EmulatorError, match=r"ended while starting: .*Error.*emulator\.log"):
        fresh.start()
    assert not fresh.lost_state()


def test_a_killed_process_takes_its_functions_with_it_and_its_loss_is_known(
    fresh: Emulator, clients_of: Callable[[Emulator], Clients], make_function: Callable[..., str]
) -> None:
    fresh.start()
    client = clients_of(fresh)
    create_one_of_each(client)
    client("lambda").invoke(FunctionName=make_function(client, "worker", SHOW_ENVIRONMENT))
    process = pid_of(fresh)
    workers = children_of(process)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert all(ends(worker) for worker in workers)
    assert fresh.lost_state()

    fresh.start()
    assert fresh.lost_state()
    assert client("s3").get_object(Bucket="bucket", Key="key")["Body"].read() == b"kept"
    with pytest.raises(ClientError, match="ResourceNotFound"):
        client("dynamodb").describe_table(TableName="table")

    fresh.erase()
    assert not fresh.lost_state()
    fresh.start()
    assert client("s3").list_buckets()["Buckets"] == []


def test_it_is_seen_to_end_though_its_parent_does_not_collect_it(
    fresh: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healthcare_dr.emulator.launch.STOP_TIMEOUT", timedelta(seconds=20))
    with script(START, fresh) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        process = pid_of(fresh)
        fresh.stop()
        assert parent.poll() is None
        assert process in children_of(parent.pid)
    assert not fresh.running()
    assert not fresh.lost_state()


def test_ctrl_c_while_it_starts_leaves_no_process_behind(fresh: Emulator) -> None:
    with script(START, fresh) as parent:
        assert runs(fresh)
        [process] = children_of(parent.pid)
        parent.send_signal(signal.SIGINT)
        said, complaint = parent.communicate(timeout=30)
        assert (said, complaint.splitlines()[-1]) == ("", "KeyboardInterrupt")
        left = lives(process)
        if left:
            os.kill(process, signal.SIGKILL)
        assert not left
    assert not fresh.running()
    assert not fresh.lost_state()


def test_nobody_takes_a_state_for_lost_while_it_is_being_saved(fresh: Emulator) -> None:
    """Without the lock, the marker means a loss: so it has to go first."""
    source = RUN + (
        "layout = Layout(Path(home))\n"
        "class Marker(type(Path())):\n"
        "    def unlink(self, *arguments, **options):\n"
        "        print('locked' if held(layout.process_file) else 'free')\n"
        "        super().unlink(*arguments, **options)\n"
        "class Watched(Layout):\n"
        "    unsaved = property(lambda self: Marker(self.home / 'unsaved'))\n"
        "run(Watched(Path(home)), ports, fixed=True)\n"
    )
    with script(source, fresh) as process:
        assert runs(fresh)
        while not (fresh.home / "unsaved").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        said, complaint = process.communicate(timeout=60)
        assert said.splitlines()[-1:] == ["locked"], complaint
    assert not fresh.lost_state()


class SavedMeanwhile(Emulator):
    """Its process has saved and ended by the time one knows whether it runs."""

    def running(self) -> bool:
        (self.home / "unsaved").unlink()
        return False


def test_a_state_that_is_saved_while_one_asks_is_not_lost(fresh: Emulator) -> None:
    fresh.home.mkdir()
    (fresh.home / "unsaved").touch()
    assert not SavedMeanwhile(home=fresh.home, port=fresh.port, issuer_port=fresh.issuer_port).lost_state()


def test_a_failure_after_it_listened_is_a_loss(fresh: Emulator) -> None:
    source = RUN + (
        "import hypercorn.asyncio\n"
        "async def serve(*arguments, **options):\n"
        "    raise OSError(28, 'No space left on device')\n"
        "hypercorn.asyncio.serve = serve\n"
        "run(Layout(Path(home)), ports, fixed=True)\n"
    )
    with script(source, fresh) as process:
        assert "No space left on device" in process.communicate(timeout=60)[1]
    assert fresh.lost_state()


def test_a_port_that_is_taken_is_no_loss(fresh: Emulator) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh.port))
        other.listen()
        with script(RUN + "run(Layout(Path(home)), ports, fixed=True)\n", fresh) as process:
            assert "Address already in use" in process.communicate(timeout=60)[1]
    assert not fresh.lost_state()
