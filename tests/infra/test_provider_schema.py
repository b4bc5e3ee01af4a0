"""What the newest provider refuses or warns about is found in the schema that the bindings carry."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from healthcare_dr.errors import SynthesisError
from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint import provider_schema as module
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.infra.lint.provider_schema import DEPRECATED, KEPT, TypeSchema, provider_schema, schema_of
from healthcare_dr.naming import GLOBAL, PRIMARY
from healthcare_dr.ops.targets.embedded import PROVIDER_VERSION
from healthcare_dr.settings import Settings
from infra.damage import Documents

Body = dict[str, Any]
SCHEMA_VERSION = "6.69.1"
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def without_bindings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)
    module._bindings.cache_clear()
    yield
    module._bindings.cache_clear()


def found(documents: Documents, settings: Settings) -> list[str]:
    return [problem for _, problem in provider_schema(Platform(documents, settings))]


def known(kind: str) -> TypeSchema:
    schema = schema_of(kind, is_data=False)
    assert schema is not None
    return schema


@pytest.mark.requirement("D8")
@pytest.mark.parametrize(
    ("stack", "address", "change", "problem"),
    [
        pytest.param(
            PRIMARY, "aws_flow_log.flow_log", lambda body: body.update(log_group_name="x"),
            "aws_flow_log.log_group_name is unknown to 6.69.1", id="removed in 6.0",
        ),
        pytest.param(
            GLOBAL, "aws_vpc_peering_connection.peering", lambda body: body.pop("vpc_id"),
            "aws_vpc_peering_connection.vpc_id is required by 6.69.1", id="required",
        ),
        pytest.param(
            GLOBAL, "aws_dynamodb_table.audit_logs", lambda body: body["replica"][0].pop("region_name"),
            "aws_dynamodb_table.replica.region_name is required by 6.69.1", id="required in a block",
        ),
        pytest.param(
            GLOBAL, "aws_dynamodb_table.audit_logs", lambda body: body["replica"][0].update(lag=1),
            "aws_dynamodb_table.replica.lag is unknown to 6.69.1", id="unknown in a block",
        ),
        pytest.param(
            PRIMARY, "aws_flow_log.flow_log", lambda body: body.update(max_aggregation_interval="minute"),
            "aws_flow_log.max_aggregation_interval is 'minute', not of the type number", id="type",
        ),
        pytest.param(
            PRIMARY, "aws_flow_log.flow_log", lambda body: body["tags"].update(Name=1),
            "aws_flow_log.tags is {'Name': 1}, not of the type map of string", id="type in a map",
        ),
        pytest.param(
            GLOBAL, "aws_dynamodb_table.audit_logs", lambda body: body.update(ttl=[{"enabled": False}] * 2),
            "aws_dynamodb_table.ttl may stand once; there are 2", id="number of blocks",
        ),
        pytest.param(
            PRIMARY, "aws_iam_role.api_role", lambda body: body.update(managed_policy_arns=[]),
            "aws_iam_role.managed_policy_arns is deprecated in 6.x: use aws_iam_role_policy_attachment",
            id="deprecated",
        ),
        pytest.param(
            PRIMARY, "aws_flow_log.flow_log", lambda body: body.update(vpc_id="${aws_vpc.vpc.identifier}"),
            "refers to aws_vpc.identifier, which the provider does not have", id="reference",
        ),
    ],
)  # fmt: skip
def test_argument_that_6_69_refuses_is_found(
    stack: str,
    address: str,
    change: Callable[[Body], object],
    problem: str,
    documents: Documents,
    settings: Settings,
) -> None:
    assert found(documents, settings) == []
    kind, _, name = address.partition(".")
    change(documents[stack]["resource"][kind][name])
    assert found(documents, settings) == [problem]


def test_schema_has_every_kind_of_argument() -> None:
    """The source text of the bindings is read by patterns, which a new version of its generator could break."""
    table = known("aws_dynamodb_table")
    root = table.blocks[table.root]
    assert {name for name, argument in root.items() if argument.required} == {"name"}
    assert (root["attribute"].repeated, root["ttl"].repeated) == (True, False)
    assert [root[name].type for name in ("ttl", "stream_enabled", "read_capacity", "tags")] == [
        "block", "bool", "number", "map of string",
    ]  # fmt: skip
    assert known("aws_subnet").blocks["SubnetConfig"]["vpc_id"].required
    assert {"arn", "stream_arn", "replica"} <= table.attributes
    assert not {"name_input", "fqn"} & table.attributes


def test_deprecated_arguments_still_exist_in_the_schema() -> None:
    for path in DEPRECATED:
        kind, *steps = path.split(".")
        schema = known(kind)
        block = schema.root
        for step in steps:
            argument = schema.blocks[block][step]
            block = argument.block or block


def test_every_deprecated_argument_that_is_kept_is_used(documents: Documents, settings: Settings) -> None:
    used = {
        f"{table.kind}.global_secondary_index.{argument}"
        for table in Platform(documents, settings).resources("aws_dynamodb_table")
        for index in table.blocks("global_secondary_index")
        for argument in index
    }
    assert used >= KEPT.keys()
    assert KEPT.keys() <= DEPRECATED.keys()


def test_readme_states_the_versions_that_were_run_and_checked(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    kinds = {(resource.kind, resource.is_data) for resource in Platform(synthesis.documents(), settings).everything}
    schemas = [schema_of(kind, is_data=is_data) for kind, is_data in kinds]
    assert {schema.version for schema in schemas if schema is not None} == {SCHEMA_VERSION}
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert (
        f"tested with provider {PROVIDER_VERSION} (deployed on the embedded AWS); arguments checked against the "
        f"{SCHEMA_VERSION} schema; no 6.x was run"
    ) in text


@pytest.mark.usefixtures("without_bindings")
def test_missing_bindings_are_named() -> None:
    with pytest.raises(SynthesisError, match="is not installed: install the requirements with `make setup`"):
        module._bindings()
