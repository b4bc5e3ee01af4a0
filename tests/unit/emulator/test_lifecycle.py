"""Tests of start, stop and restart, of secrets, and of ports."""

import errno
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from healthcare_dr.emulator import configuration
from healthcare_dr.emulator.configuration import Layout, Ports, make_secrets
from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.files import exclusive, write_file
from healthcare_dr.errors import EmulatorError
from unit.emulator.aws import Aws
from unit.emulator.processes import (
    SHOW_ENVIRONMENT,
    create_one_of_each,
    descendants_of,
    listening,
    lives,
    pid_of,
)


def test_restart_keeps_all_state(running: Aws, fresh: Emulator) -> None:
    key = create_one_of_each(running)
    encrypted = running("kms").encrypt(KeyId=key, Plaintext=b"kept")["CiphertextBlob"]
    fresh.stop()
    assert not fresh.running()
    assert not fresh.lost_state()

    fresh.start()
    assert running("dynamodb").get_item(TableName="table", Key={"pk": {"S": "kept"}})["Item"]
    assert running("s3").get_object(Bucket="bucket", Key="key")["Body"].read() == b"kept"
    assert running("kms").decrypt(CiphertextBlob=encrypted)["Plaintext"] == b"kept"
    assert not fresh.lost_state()


def test_start_and_stop_are_idempotent(fresh: Emulator) -> None:
    fresh.stop()
    fresh.start()
    first = pid_of(fresh)
    fresh.start()
    assert pid_of(fresh) == first
    fresh.stop()
    fresh.stop()
    assert not lives(first)


def test_concurrent_starts_create_one_process(fresh: Emulator) -> None:
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


def test_stop_ends_functions_and_removes_temporary_files(running: Aws, fresh: Emulator) -> None:
    running.invoke(running.function("worker", SHOW_ENVIRONMENT))
    process = pid_of(fresh)
    workers = descendants_of(process)
    assert len(workers) > 1
    fresh.stop()
    assert not lives(process)
    assert not [worker for worker in workers if lives(worker)]
    assert not list((fresh.home / "tmp").iterdir())


def test_functions_do_not_inherit_the_operators_environment(fresh: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as operator:
        for name in ("AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "HDR_HOME", "GITHUB_TOKEN", "HTTPS_PROXY"):
            operator.setenv(name, "of-the-operator")
        fresh.start()
    aws = Aws(fresh)
    variables = aws.invoke(aws.function("environment", SHOW_ENVIRONMENT))
    assert variables["AWS_REGION"] == "us-east-1"
    assert not {"of-the-operator", fresh.environment()["AWS_SECRET_ACCESS_KEY"]}.intersection(variables.values())
    assert b"of-the-operator" not in Path(f"/proc/{pid_of(fresh)}/environ").read_bytes()


def test_processes_listen_only_on_loopback(emulator: Emulator) -> None:
    ports = Ports(account=emulator.account, port=emulator.port, regions=emulator.regions)
    expected = {("127.0.0.1", emulator.port), ("127.0.0.1", ports.issuer_port)}
    expected |= {(address, ports.edge_port) for address in ports.edge_addresses.values()}
    assert listening(emulator, "tcp") == expected | {emulator.dns()}
    assert listening(emulator, "udp") == {emulator.dns()}


def test_secrets_are_readable_only_by_their_owner(emulator: Emulator) -> None:
    assert emulator.home.stat().st_mode & 0o077 == 0
    for name in ("authority.key", "server.key", "root-secret", "token.key"):
        assert (emulator.home / "keys" / name).stat().st_mode & 0o777 == 0o600, name


@pytest.mark.parametrize("further", range(4))
def test_taken_port_is_named_in_the_error(fresh: Emulator, further: int) -> None:
    port = fresh.port + further
    with socket.socket() as other:
        other.bind(("127.0.0.2" if further == 2 else "127.0.0.1", port))
        other.listen()
        with pytest.raises(EmulatorError, match=f"port {port} .*HDR_EMULATOR_PORT"):
            fresh.start()
    assert not fresh.running()
    assert not fresh.lost_state()


def test_start_with_other_ports_is_rejected(emulator: Emulator, make_emulator: Callable[..., Emulator]) -> None:
    with pytest.raises(EmulatorError, match=f"already runs on port {emulator.port}.*HDR_EMULATOR_PORT"):
        make_emulator(emulator.home).start()


def test_stale_or_reused_process_id_does_not_count_as_running(fresh: Emulator) -> None:
    fresh.home.mkdir()
    bystander = subprocess.Popen(["sleep", "60"])  # noqa: S607 - a program on the PATH
    record = {"pid": bystander.pid, "account": fresh.account, "port": fresh.port, "regions": fresh.regions}
    (fresh.home / "services.json").write_text(json.dumps(record))
    assert not fresh.running()
    fresh.stop()
    assert bystander.poll() is None
    fresh.start()
    assert pid_of(fresh) != bystander.pid
    bystander.kill()
    bystander.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_process_without_recorded_ports_is_reported(
    tmp_path: Path, make_emulator: Callable[..., Emulator], monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The process holds its lock, but could not write its ports to a full disk."""
    monkeypatch.setattr("healthcare_dr.emulator.emulator.RECORD_SECONDS", 0.1)
    tmp_path.joinpath("services.json").write_text(text)
    with (
        exclusive(tmp_path / "services.json", within=timedelta()),
        pytest.raises(EmulatorError, match=r"services\.json does not name its process .*fuser"),
    ):
        make_emulator(tmp_path).start()


def test_incomplete_certificates_are_created_by_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)

    def fail(path: Path, content: bytes) -> None:
        if path == layout.server_certificate:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_file(path, content)

    monkeypatch.setattr(configuration, "write_file", fail)
    with pytest.raises(OSError, match="No space left"):
        make_secrets(layout)
    monkeypatch.undo()
    make_secrets(layout)
    ssl.create_default_context(cafile=str(layout.authority_certificate))
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(layout.server_certificate, layout.server_key)


def test_unwritable_home_is_named_in_the_error(tmp_path: Path, make_emulator: Callable[..., Emulator]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmulatorError, match=r"cannot keep its state in .*HDR_HOME"):
        make_emulator(tmp_path / "file" / "home").start()


def test_crash_during_start_shows_the_end_of_the_log(fresh: Emulator) -> None:
    fresh.start()
    fresh.stop()
    (fresh.home / "keys" / "token.key").write_text("no key")
    with pytest.raises(
        EmulatorError, match=r"ended while starting \(edge\): .*contains no key that signs tokens.*edge\.log"
    ):
        fresh.start()
    assert not fresh.lost_state()
