"""Outputs, demonstration, tokens and plans."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PRIMARY
from healthcare_dr.ops.lifecycle import PATIENT, demonstrate
from healthcare_dr.ops.status import flatten, write_outputs
from healthcare_dr.ops.tables import print_plans, summary_lines
from healthcare_dr.ops.terraform.events import OutputChange, PlannedChange
from healthcare_dr.ops.terraform.runner import Plan
from healthcare_dr.ops.terraform.state import StackState
from unit.ops.conftest import Answer, Serving
from unit.ops.test_status import EAST, WELL, WEST, deployed, status_with


@pytest.mark.requirement("D9")
def test_outputs_are_flat_strings_with_stable_names() -> None:
    assert flatten(deployed()) == {
        "NameServers": "a,b",
        "PrimaryApiEndpoint": "https://one",
        "PrimaryApiId": "one",
        "RecordsTable": "t",
        "SecondaryApiEndpoint": "https://two",
        "SecondaryApiId": "two",
        "Ttl": "10",
        "ZoneId": "Z",
    }
    assert flatten(deployed(primary=StackState(outputs={"api_id": "old"}))).get("PrimaryApiId") is None


@pytest.mark.requirement("D9")
def test_outputs_are_written_atomically(tmp_path: Path) -> None:
    file = tmp_path / "cfn-outputs" / "flat-outputs.json"
    write_outputs({"B": "2", "A": "1"}, file)
    write_outputs({"B": "3", "A": "1"}, file)
    assert json.loads(file.read_text()) == {"A": "1", "B": "3"}
    assert list(file.parent.iterdir()) == [file]
    (file.parent / "folder").mkdir()
    with pytest.raises(DeploymentError, match="cannot be written"):
        write_outputs({}, file.parent / "folder")
    assert sorted(file.parent.iterdir()) == [file, file.parent / "folder"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DeploymentError, match="cannot be written"):
        write_outputs({}, tmp_path / "file" / "flat-outputs.json")


class Api:
    """An API in two regions, with replication that takes a few questions."""

    def __init__(self, *, lag: int = 2, created: int = 201, altered: bool = False) -> None:
        self.lag, self.created, self.altered = lag, created, altered

    def __call__(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        assert headers["Authorization"] == "Bearer t"
        record = PATIENT | {"id": "p1", "meta": {"versionId": "v1"}}
        if method == "POST":
            assert json.loads(body) == PATIENT
            return self.created, json.dumps(record).encode()
        assert path == "/fhir/Patient/p1"
        if self.lag:
            self.lag -= 1
            return 404, b"{}"
        return 200, json.dumps(record | ({"name": [{"family": "Other"}]} if self.altered else {})).encode()


def run_demo(tls: Serving, api: Api) -> Any:
    served = tls(api)
    return demonstrate(
        write_to=(EAST, served.url),
        read_from=(WEST, served.url),
        token="t",
        ca_bundle=served.authority,
        pause=lambda _: None,
    )


def test_a_record_written_in_one_region_is_read_in_the_other(tls: Serving) -> None:
    demo = run_demo(tls, Api())
    assert (demo.patient_id, demo.version, demo.written_in, demo.read_in) == ("p1", "v1", EAST, WEST)
    assert demo.seen_after_seconds >= 0


def test_a_refused_write_is_a_failure(tls: Serving) -> None:
    with pytest.raises(DeploymentError, match=r"the API of us-east-1 answered 403 instead of 201 to POST"):
        run_demo(tls, Api(created=403))


def test_another_record_is_a_failure(tls: Serving) -> None:
    with pytest.raises(DeploymentError, match="is not the one written"):
        run_demo(tls, Api(altered=True))


def test_a_record_that_never_arrives_is_a_failure(tls: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healthcare_dr.ops.lifecycle.PATIENCE_SECONDS", 0.3)
    with pytest.raises(DeploymentError, match=r"us-west-2 answered 404 instead of 200"):
        run_demo(tls, Api(lag=10**6))


def test_a_silent_api_is_a_failure() -> None:
    with pytest.raises(DeploymentError, match="the API does not answer"):
        demonstrate(write_to=(EAST, "https://127.0.0.1:9"), read_from=(WEST, ""), token="t", ca_bundle=None)


def test_a_plan_shows_numbers_and_every_resource_that_is_touched() -> None:
    plan = Plan(
        stack=PRIMARY,
        destroys=False,
        changes=(
            PlannedChange("aws_subnet.a", "create"),
            PlannedChange("aws_subnet.b", "create"),
            PlannedChange("aws_kms_key.data", "replace"),
            PlannedChange("aws_vpc.vpc", "update"),
        ),
        add=3,
        change=1,
        remove=1,
        outputs=(OutputChange("api_id", "create"),),
        pending=True,
    )
    out = StringIO()
    print_plans(Console(file=out, width=120), [plan])
    assert "+ healthcare-dr-primary: 2 aws_subnet" in out.getvalue()
    assert "± healthcare-dr-primary: aws_kms_key.data (replace)" in out.getvalue()
    assert "~ healthcare-dr-primary: aws_vpc.vpc (update)" in out.getvalue()


def test_commands_of_the_summary_name_their_environment_and_pass_a_proxy(tls: Serving) -> None:
    demo, status = run_demo(tls, Api()), replace(status_with(dict(WELL), deployed()), suffix="bee")
    lines = list(summary_lines(status, demo, certificate="/ca.pem", hdr="hdr", curl="curl --noproxy 127.0.0.1"))
    commands = [line.split("#")[0].strip() for line in lines[lines.index("Try next:") + 1 :]]
    assert "ENVIRONMENT_SUFFIX=bee hdr down" in commands
    for command in commands:
        assert command.startswith(("ENVIRONMENT_SUFFIX=bee hdr ", "curl --noproxy 127.0.0.1 --cacert /ca.pem "))
        assert "$(hdr" not in command


def test_the_summary_ends_with_commands_that_name_everything_they_need(tls: Serving) -> None:
    demo = run_demo(tls, Api())
    lines = list(summary_lines(status_with(dict(WELL), deployed()), demo, certificate="/ca.pem", hdr=".venv/bin/hdr"))
    assert "  curl --cacert /ca.pem https://one/health    # us-east-1" in lines
    assert (
        '  curl --cacert /ca.pem -H "Authorization: Bearer $(.venv/bin/hdr token)" https://two/fhir/Patient/p1' in lines
    )
