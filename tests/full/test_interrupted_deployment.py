"""An interrupted first `hdr up` stops in order, and the next one continues it."""

import subprocess
from collections.abc import Iterator

import pytest
from bench.ports import free_port

from healthcare_dr.naming import STACKS
from support.platform import Deployed

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Return an empty account."""
    platform = Deployed(home=tmp_path_factory.mktemp("interrupted") / "home", port=free_port())
    yield platform
    platform.emulator.stop()


@pytest.fixture(scope="module")
def interruption(empty: Deployed) -> subprocess.CompletedProcess[str]:
    """Interrupt a first `hdr up` while Terraform creates resources."""
    return empty.interrupted("up", when_logged="aws_kms_key.data_key created")


def test_interrupted_deployment_stops_in_order(interruption: subprocess.CompletedProcess[str]) -> None:
    assert interruption.returncode == 130
    assert "Traceback" not in interruption.stdout
    assert "the next run goes on from there" in " ".join(interruption.stdout.split())


@pytest.mark.requirement("D8")
def test_next_run_continues_and_a_second_plan_is_empty(
    empty: Deployed, interruption: subprocess.CompletedProcess[str]
) -> None:
    finished = empty.hdr("up")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    plan = empty.reported("plan")
    assert set(plan) == set(STACKS)
    assert [stack for stack, found in plan.items() if found["pending"]] == []
    assert empty.hdr("down").returncode == 0
    assert empty.emulator.running() is False
