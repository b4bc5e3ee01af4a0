"""Tests of the end of the processes: no process or file is left behind, and lost state is reported."""

import os
import signal
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.process import KINDS, Kind
from unit.emulator.aws import ONCE, Aws, eventually
from unit.emulator.processes import (
    RUN,
    SERVE,
    SHOW_ENVIRONMENT,
    START,
    children_of,
    create_one_of_each,
    descendants_of,
    ends,
    lives,
    pid_of,
    processes_of,
    runs,
    script,
    started,
)

SENDERS = 4


def test_killed_process_ends_its_functions_and_reports_lost_state(running: Aws, fresh: Emulator) -> None:
    create_one_of_each(running)
    running.invoke(running.function("worker", SHOW_ENVIRONMENT))
    process = pid_of(fresh)
    workers = descendants_of(process)
    assert len(workers) > 1
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert all(ends(worker) for worker in workers)
    assert fresh.lost_state()

    fresh.start()
    assert fresh.lost_state()
    assert running("s3").get_object(Bucket="bucket", Key="key")["Body"].read() == b"kept"
    with pytest.raises(ClientError, match="ResourceNotFound"):
        running("dynamodb").describe_table(TableName="table")

    fresh.erase()
    assert not fresh.lost_state()
    fresh.start()
    assert running("s3").list_buckets()["Buckets"] == []


def test_end_is_detected_though_the_parent_does_not_reap(fresh: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healthcare_dr.emulator.launcher.STOP_TIMEOUT", timedelta(seconds=20))
    with started(fresh) as parent:
        process = pid_of(fresh)
        fresh.stop()
        assert parent.poll() is None
        assert process in children_of(parent.pid)
    assert not fresh.running()
    assert not fresh.lost_state()


def test_ctrl_c_during_start_leaves_no_process(fresh: Emulator) -> None:
    with script(START.replace("OWNER", "None"), fresh) as parent:
        assert runs(fresh, parent)
        assert eventually(lambda: len(children_of(parent.pid)) == len(KINDS))
        processes = children_of(parent.pid)
        parent.send_signal(signal.SIGINT)
        output, errors = parent.communicate(timeout=30)
        assert (output, errors.splitlines()[-1]) == ("", "KeyboardInterrupt")
        left = [process for process in processes if lives(process)]
        for process in left:
            os.kill(process, signal.SIGKILL)
        assert not left
    assert not fresh.running()
    assert not fresh.lost_state()


def test_state_is_not_reported_lost_while_it_is_saved(fresh: Emulator) -> None:
    """The marker is removed before the lock is released, because without the lock it means lost state."""
    source = RUN + (
        "class Marker(type(Path())):\n"
        "    def unlink(self, *arguments, **options):\n"
        "        print('locked' if is_locked(layout.process_file('services')) else 'free')\n"
        "        super().unlink(*arguments, **options)\n"
        "class Watched(Layout):\n"
        "    def __init__(self, home):\n"
        "        super().__init__(home)\n"
        "        self.unsaved = Marker(self.unsaved)\n"
        "layout = Watched(Path(home))\n"
    )
    with script(source + SERVE, fresh) as process:
        assert runs(fresh, process)
        assert eventually((fresh.home / "unsaved").exists)
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
        assert output.splitlines()[-1:] == ["locked"], errors
    assert not fresh.lost_state()


def test_state_is_saved_while_clients_keep_sending(fresh: Emulator) -> None:
    with started(fresh), ThreadPoolExecutor(SENDERS) as pool:
        senders = [pool.submit(_send_until_it_ends, fresh) for _ in range(SENDERS)]
        time.sleep(0.5)
        fresh.stop()
        assert all(sender.result() > 0 for sender in senders)
    assert not fresh.lost_state()


def _send_until_it_ends(emulator: Emulator) -> int:
    """Send requests repeatedly without reading the responses; return their number."""
    context = ssl.create_default_context(cafile=str(emulator.certificate))
    sent = 0
    with (
        socket.create_connection(("127.0.0.1", emulator.port), timeout=15) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
        suppress(OSError),
    ):
        while True:
            connection.sendall(b"GET /_ministack/ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            sent += 1
            time.sleep(0.02)
    return sent


class SavedMeanwhile(Emulator):
    """The services save and end during the check whether they run."""

    def _is_running(self, kind: Kind) -> bool:
        (self.home / "unsaved").unlink()
        return False


def test_lost_state_is_false_when_saving_ends_during_the_check(fresh: Emulator) -> None:
    fresh.home.mkdir()
    (fresh.home / "unsaved").touch()
    assert not SavedMeanwhile(home=fresh.home, port=fresh.port).lost_state()


def test_failure_after_listening_reports_lost_state(fresh: Emulator) -> None:
    source = RUN + (
        "import uvicorn\n"
        "async def main_loop(*arguments, **options):\n"
        "    raise OSError(28, 'No space left on device')\n"
        "uvicorn.Server.main_loop = main_loop\n"
    )
    with script(source + SERVE, fresh) as process:
        assert "No space left on device" in process.communicate(timeout=60)[1]
    assert fresh.lost_state()


def test_state_that_cannot_be_saved_is_reported_lost(fresh: Emulator) -> None:
    source = RUN + (
        "from healthcare_dr.emulator.replication.queue import ReplicationQueue\n"
        "def drain(queue):\n"
        "    raise OSError(28, 'No space left on device')\n"
        "ReplicationQueue.drain = drain\n"
    )
    with script(source + SERVE, fresh) as process:
        assert runs(fresh, process)
        assert eventually((fresh.home / "unsaved").exists)
        process.send_signal(signal.SIGTERM)
        assert "the services could not save their state" in process.communicate(timeout=60)[1]
    assert fresh.lost_state()


def test_taken_port_does_not_report_lost_state(fresh: Emulator) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", fresh.port))
        other.listen()
        with script(RUN + SERVE, fresh) as process:
            assert "Address already in use" in process.communicate(timeout=60)[1]
    assert not fresh.lost_state()


def test_process_ends_with_its_owner(fresh: Emulator) -> None:
    with started(fresh, owner="os.getpid()") as owner:
        processes = processes_of(fresh)
        owner.kill()
        owner.wait()
        assert all(ends(process) for process in processes)
    assert not fresh.running()
    assert not fresh.lost_state()


@pytest.mark.usefixtures("running")
def test_missing_process_is_started_again(fresh: Emulator) -> None:
    before = fresh.processes()
    os.kill(before["edge"], signal.SIGKILL)
    os.waitpid(before["edge"], 0)
    assert fresh.processes() == {"services": before["services"]}
    assert not fresh.running()
    assert not fresh.lost_state()
    fresh.start()
    after = fresh.processes()
    assert after["services"] == before["services"]
    assert after["edge"] != before["edge"]


def test_process_closes_inherited_files(fresh: Emulator) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    fresh.start()
    os.close(writing)
    # The pipe ends only when no process has the other end open.
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        os.set_blocking(reading, False)
        assert pipe.read() == b""


def test_client_that_disconnects_before_the_response_is_logged(running: Aws, fresh: Emulator) -> None:
    slow = running.function("slow", "import time\n\ndef handler(event, context):\n    time.sleep(5)\n")
    with pytest.raises(ReadTimeoutError):
        running("lambda", config=ONCE.merge(Config(read_timeout=1))).invoke(FunctionName=slow)
    log = fresh.home / "services.log"
    assert eventually(lambda: "/invocations disconnected before the response" in log.read_text())
