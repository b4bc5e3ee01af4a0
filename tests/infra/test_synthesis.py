"""The synthesized files do not depend on the machine, the target or the way in which the bindings are loaded."""

import re
from pathlib import Path

import pytest
from jsii.errors import JSIIError

from healthcare_dr.emulator.emulator import Emulator
from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra import Synthesis, synth
from healthcare_dr.naming import GLOBAL, PIPELINE, PRIMARY, SECONDARY, STACKS
from healthcare_dr.ops.bootstrap import emulator_of
from healthcare_dr.settings import Settings, load_settings

ROOT = Path(__file__).parents[2]


def files_of(synthesis: Synthesis) -> dict[str, bytes]:
    return {
        str(path.relative_to(synthesis.outdir)): path.read_bytes()
        for stack in STACKS
        for path in sorted(synthesis.folder(stack).rglob("*"))
        if path.is_file()
    }


@pytest.mark.requirement("D8")
@pytest.mark.trap(40)
def test_all_three_stacks_are_written(synthesis: Synthesis) -> None:
    assert sorted(path.name for path in (synthesis.outdir / "stacks").iterdir()) == sorted(STACKS)


def test_equal_settings_give_equal_bytes(synthesis: Synthesis, settings: Settings, tmp_path: Path) -> None:
    """What an earlier synthesis wrote for other settings does not matter."""
    earlier = Synthesis(outdir=tmp_path / "again").folder(PIPELINE)
    earlier.mkdir(parents=True)
    (earlier / "cdk.tf.json").write_text("{}", encoding="utf-8")
    again = synth(settings, tmp_path / "again")
    assert files_of(again) == files_of(synthesis)
    assert set(again.documents()) == set(STACKS)


def test_files_contain_no_path_of_this_machine(synthesis: Synthesis) -> None:
    for name, content in files_of(synthesis).items():
        if name.endswith(".json"):
            assert str(ROOT).encode() not in content
            assert str(Path.home()).encode() not in content


@pytest.mark.requirement("C2")
def test_synthesis_fails_on_a_lint_finding(tmp_path: Path) -> None:
    """Each setting is allowed. Together, a failover would take longer than the recovery time objective."""
    slow = load_settings(health_check_interval=30, failure_threshold=10)
    with pytest.raises(SynthesisError, match=r"detection takes 300 s and TTL 10 s more: over the RTO"):
        synth(slow, tmp_path / "slow")


@pytest.mark.requirement("D9")
def test_outputs_are_complete(synthesis: Synthesis) -> None:
    outputs = synthesis.json(GLOBAL)["output"]
    assert {"records_table", "audit_table", "zone_id", "api_domain", "documents_bucket_primary"} <= set(outputs)
    for stack in (PRIMARY, SECONDARY):
        outputs = synthesis.json(stack)["output"]
        functions = {"function_name", "confirmation_function_name", "reconciliation_function_name"}
        assert functions | {"api_id", "api_endpoint", "key_arn", "topic_arn"} <= set(outputs)


def test_replicated_tables_and_buckets_are_passed_to_the_embedded_aws(synthesis: Synthesis, settings: Settings) -> None:
    """A replication fault affects the tables and buckets of its own environment only."""
    emulator = emulator_of(settings)
    assert isinstance(emulator, Emulator)
    found = set()
    for stack in STACKS:
        resources = synthesis.json(stack)["resource"]
        found |= {table["name"] for table in resources.get("aws_dynamodb_table", {}).values()}
        buckets = {name: bucket["bucket"] for name, bucket in resources.get("aws_s3_bucket", {}).items()}
        for replication in resources.get("aws_s3_bucket_replication_configuration", {}).values():
            (named,) = (bucket for name, bucket in buckets.items() if f"aws_s3_bucket.{name}." in replication["bucket"])
            found.add(re.sub(r"\$\{.*?\}", emulator.account, named))
    assert found == emulator.only


@pytest.mark.trap(39)
def test_all_functions_of_a_stack_share_one_zip(synthesis: Synthesis) -> None:
    for stack in (PRIMARY, SECONDARY):
        functions = synthesis.json(stack)["resource"]["aws_lambda_function"]
        assert len(functions) == 4
        (filename,) = {function["filename"] for function in functions.values()}
        assert list(synthesis.folder(stack).rglob("*.zip")) == [synthesis.folder(stack) / filename]


def test_error_of_the_toolkit_prints_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise JSIIError("the toolkit raises an error\nat a place in its own code")

    monkeypatch.setattr("healthcare_dr.infra.stacks.GlobalStack", fail)
    with pytest.raises(SynthesisError, match=r"^synthesis failed: the toolkit raises an error$"):
        synth(load_settings(), tmp_path / "failed")
