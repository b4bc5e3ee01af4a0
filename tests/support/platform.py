"""The deployed platform for tests: through `hdr`, its HTTP APIs, and boto3 with root credentials."""

import base64
import hashlib
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import httpx
from bench.running import aws_client

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.emulator.fault_state import EdgeFault
from healthcare_dr.naming import Names
from patient_api.contract.functions import FUNCTIONS
from support import run

ROOT = Path(__file__).parents[2]
HDR = Path(sys.executable).with_name("hdr")
SUFFIX = "it"
REGIONS = ("us-east-1", "us-west-2")
ALL_RIGHTS = ("system/Patient.cruds", "system/DocumentReference.cruds", "system/AuditEvent.s")
DEPLOYMENT_SECONDS = 900
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.1
# The patient data in everything that the tests send. No log group may contain them.
MARKS = ("Fictitious", "Fay-Marked", "MRN-4711-MARKED", "1970-05-02")


@dataclass(frozen=True)
class Deployed:
    """An environment with its own embedded AWS."""

    home: Path
    port: int

    @property
    def names(self) -> Names:
        return Names(SUFFIX)

    @property
    def emulator(self) -> Emulator:
        return Emulator(home=self.home / "emulator", port=self.port, ends_with=run.pid())

    @property
    def variables(self) -> dict[str, str]:
        """Return the variables with which `hdr` uses this environment, without settings of the user."""
        return {
            **run.environment(),
            "ENVIRONMENT_SUFFIX": SUFFIX,
            "HDR_HOME": str(self.home),
            "HDR_EMULATOR_PORT": str(self.port),
        }

    def hdr(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end; `settings` are more variables of its environment."""
        return subprocess.run(
            [HDR, *arguments],
            cwd=ROOT,
            env={**self.variables, **settings},
            capture_output=True,
            text=True,
            timeout=DEPLOYMENT_SECONDS,
            check=False,
        )

    def reported(self, *arguments: str) -> Any:
        """Return the JSON report of a command."""
        finished = self.hdr(*arguments, "--json")
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    def interrupted(self, *arguments: str, when_logged: str) -> subprocess.CompletedProcess[str]:
        """Run the command and press Ctrl-C as soon as its progress mentions `when_logged`."""
        log = self.home.parent / "interrupted.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [HDR, *arguments], cwd=ROOT, env=self.variables, stdout=output, stderr=output, start_new_session=True
            )
            deadline = time.monotonic() + DEPLOYMENT_SECONDS
            while when_logged not in log.read_text(encoding="utf-8") and process.poll() is None:
                assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=DEPLOYMENT_SECONDS)
        return subprocess.CompletedProcess(arguments, code, log.read_text(encoding="utf-8"), "")

    def client(self, service: str, region: str = REGIONS[0], **options: Any) -> Any:
        """Return a boto3 client with root credentials. `options` are those of boto3."""
        return aws_client(self.emulator, service, region, **options)

    def settle(self) -> None:
        """Wait until replication has delivered everything to both regions."""
        eventually(lambda: self.emulator.pending() == 0)

    def restore(self) -> None:
        """End all faults of the embedded AWS, wait until it is healthy, and return to real time."""
        self.emulator.refuse_control_planes(refused=False)
        self.emulator.set_replication(tables=True, documents=True)
        for region in REGIONS:
            self.emulator.set_edge_fault(region, EdgeFault(mode="open"))
            self.emulator.set_clock_ahead(region, 0, functions=[self.names.of(spec.name) for spec in FUNCTIONS])
        try:
            eventually(lambda: all(check.healthy for check in self.emulator.health_checks().values()))
            self.settle()
        finally:
            self.emulator.set_time_scale(1)

    @contextmanager
    def paused_replication(self, kind: Literal["tables", "documents"]) -> Iterator[Callable[[], None]]:
        """Pause the replication of tables or documents. Yields the function that resumes it before the end."""

        self.emulator.set_replication(**{kind: False})
        try:
            yield lambda: self.resume_replication(kind)
        finally:
            self.resume_replication(kind)

    def resume_replication(self, kind: Literal["tables", "documents"] = "tables") -> None:
        """Resume replication, and wait until it has delivered everything."""
        self.emulator.set_replication(**{kind: True})
        self.settle()

    def items_of(self, region: str, record: str) -> list[dict[str, Any]]:
        """Return the items of a record of `clinic-a`, such as `Patient#<id>`, in a region's replica."""
        items: list[dict[str, Any]] = self.client("dynamodb", region).query(
            TableName=self.names.records_table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"clinic-a#{record}"}},
        )["Items"]
        return items

    def log_messages(self, region: str, group: str) -> Iterator[str]:
        """Yield the messages of a log group."""
        pages = self.client("logs", region).get_paginator("filter_log_events").paginate(logGroupName=group)
        return (event["message"] for page in pages for event in page["events"])

    def drain_flags(self, region: str = REGIONS[0]) -> list[int]:
        """Return the statuses with which both regions respond to `/drain/<region>`."""
        statuses = []
        for place in REGIONS:
            with self.api(place) as api:
                statuses.append(api.get(f"/drain/{region}").status_code)
        return statuses

    def settle_conflicts(self) -> None:
        """Mark the conflicts of other tests as resolved, as the platform does after a merge."""
        self.settle()
        table = self.client("dynamodb")
        shelf = {
            "IndexName": "by-update",
            "KeyConditionExpression": "update_shard = :shelf",
            "ExpressionAttributeValues": {":shelf": {"S": "$platform#conflicts"}},
        }
        for marker in table.query(TableName=self.names.records_table, **shelf)["Items"]:
            table.update_item(
                TableName=self.names.records_table,
                Key={"pk": marker["pk"], "sk": marker["sk"]},
                UpdateExpression="SET resolved = :by REMOVE update_shard, updated",
                ExpressionAttributeValues={":by": {"S": "a test"}},
            )
        self.settle()

    def account(self) -> str:
        return str(self.client("sts").get_caller_identity()["Account"])

    def bucket(self, region: str) -> str:
        return self.names.documents_bucket(self.account(), region)

    def token(
        self, *, subject: str = "tester", tenant: str = "clinic-a", scopes: Sequence[str] = ALL_RIGHTS, **other: Any
    ) -> str:
        return self.emulator.token(subject=subject, tenant=tenant, scopes=scopes, **other)

    @cache  # noqa: B019 - one deployment lives as long as the tests
    def outputs(self) -> dict[str, str]:
        """Return the outputs of all three stacks, which do not change between tests."""
        found: dict[str, str] = self.reported("outputs")
        return found

    def api_id(self, region: str) -> str:
        return self.outputs()["PrimaryApiId" if region == REGIONS[0] else "SecondaryApiId"]

    def api(self, region: str, token: str | None = None, **headers: str) -> httpx.Client:
        """Return a client of one region's HTTP API."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.http(base_url=self.emulator.api_url(self.api_id(region)), headers=headers)

    def http(self, **options: Any) -> httpx.Client:
        """Return a client that trusts the embedded AWS. Without options it is for presigned addresses."""
        trusted = ssl.create_default_context(cafile=str(self.emulator.certificate))
        return httpx.Client(verify=trusted, trust_env=False, timeout=30, **options)


def eventually(holds: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until `holds` returns true; fail when it does not within `seconds`.

    The deadline ends a test that would wait for ever. It is far beyond what a busy machine needs, because it asserts no
    duration.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(POLL_SECONDS)


def patient(**elements: object) -> dict[str, object]:
    """Return a clearly fictitious patient with the values of `MARKS`."""
    family, given, number, born = MARKS
    return {
        "resourceType": "Patient",
        "name": [{"family": family, "given": [given]}],
        "identifier": [{"system": "urn:healthcare-dr:fictitious", "value": number}],
        "birthDate": born,
        **elements,
    }


def create_patient(
    client: httpx.Client, headers: Mapping[str, str] | None = None, **elements: object
) -> httpx.Response:
    """Create a fictitious patient and return the response."""
    response = client.post("/fhir/Patient", json=patient(**elements), headers=headers)
    assert response.status_code == 201, response.text
    return response


def letter() -> bytes:
    """Return a new, clearly fictitious document with the values of `MARKS`."""
    return f"To whom it may concern: {' '.join(MARKS)} is well.\n{uuid4()}\n".encode()


def reference(patient_id: str, content: bytes, **elements: object) -> dict[str, object]:
    """Return a DocumentReference that announces `content`."""
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    attachment = {
        "contentType": "text/plain",
        "size": len(content),
        "title": f"{MARKS[0]}.txt",
        "extension": [{"url": "urn:healthcare-dr:sha256", "valueBase64Binary": digest}],
    }
    return {
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": {"reference": f"Patient/{patient_id}"},
        "content": [{"attachment": attachment}],
        **elements,
    }


def offer(announced: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the upload extensions of the response to a declaration, each with `url` and a value."""
    found = announced["content"][0]["attachment"]["extension"]
    (upload,) = [extension["extension"] for extension in found if extension["url"] == "urn:healthcare-dr:upload"]
    return list(upload)


def upload_of(announced: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the upload address of a document that fits into one request, and its headers."""
    extensions = offer(announced)
    (address,) = [extension["valueUrl"] for extension in extensions if extension["url"] == "address"]
    lines = [extension["valueString"].partition(": ") for extension in extensions if extension["url"] == "header"]
    return address, {name: text for name, _, text in lines}


def issue_code(answer: httpx.Response) -> str:
    """Return the code of an OperationOutcome."""
    outcome: Mapping[str, Any] = answer.json()
    assert outcome["resourceType"] == "OperationOutcome"
    return str(outcome["issue"][0]["code"])
