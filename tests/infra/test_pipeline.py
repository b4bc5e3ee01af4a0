"""The roles of the deployment pipeline, and the boundary of the roles that it creates."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint import check
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.naming import GLOBAL, PIPELINE, PRIMARY, SECONDARY, STACKS
from healthcare_dr.settings import Settings
from infra.damage import Damage, finds, parameters
from infra.mutations_pipeline import pipeline_mutations

Variant = Callable[..., tuple[Synthesis, Settings]]


@pytest.mark.parametrize(("rule", "damage"), parameters(pipeline_mutations()))
def test_rule_finds_damage_to_the_pipeline(rule: str, damage: Damage, all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    documents = copy.deepcopy(synthesis.documents())
    damage.apply(documents)
    assert finds(rule, documents, settings)


@pytest.fixture(scope="module")
def small(synth_with: Variant) -> tuple[Synthesis, Settings]:
    """A pipeline that uses an existing identity provider, in a repository with immutable subject claims."""
    return synth_with(
        environment_suffix="a" * 20,
        primary_region="us-east-1",
        secondary_region="ap-southeast-2",
        state_bucket="healthcare-dr-state",
        fault_injection=True,
        github_repository="octo-org@1234567/healthcare@7654321",
        github_environment="live",
        github_branch="release",
        github_provider_exists=True,
    )


def test_longest_names_and_an_existing_provider_break_no_rule(small: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = small
    documents = synthesis.documents()
    assert [str(finding) for finding in check(documents, settings)] == []
    assert "aws_iam_openid_connect_provider" not in documents[PIPELINE]["resource"]
    assert "aws_iam_openid_connect_provider" in documents[PIPELINE]["data"]


def test_each_role_trusts_one_subject(small: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = small
    roles = Platform(synthesis.documents(), settings).resources("aws_iam_role")
    subjects = {
        role.name: role.statements("assume_role_policy")[0]["Condition"]["StringEquals"]
        for role in roles
        if role.stack == PIPELINE
    }
    issuer, repository = "token.actions.githubusercontent.com", "repo:octo-org@1234567/healthcare@7654321"
    assert {name: claims[f"{issuer}:sub"] for name, claims in subjects.items()} == {
        "plan_role": f"{repository}:pull_request",
        "deploy_role": f"{repository}:environment:live",
        "verify_role": f"{repository}:ref:refs/heads/release",
    }
    assert {claims[f"{issuer}:aud"] for claims in subjects.values()} == {"sts.amazonaws.com"}


def without_boundary(document: dict[str, Any]) -> str:
    """Return a stack's JSON without boundaries, sorted."""
    document = copy.deepcopy(document)
    for role in document["resource"]["aws_iam_role"].values():
        del role["permissions_boundary"]
    return json.dumps(document, sort_keys=True)


@pytest.mark.requirement("D8")
def test_pipeline_changes_nothing_but_the_boundary_of_roles(synthesis: Synthesis, synth_with: Variant) -> None:
    with_pipeline, _ = synth_with(github_repository="octo-org/healthcare")
    assert sorted(synthesis.documents()) == sorted(STACKS)
    for stack in (PRIMARY, SECONDARY, GLOBAL):
        assert without_boundary(with_pipeline.json(stack)) == json.dumps(synthesis.json(stack), sort_keys=True)


def test_without_a_state_bucket_no_role_reads_objects(synth_with: Variant) -> None:
    synthesis, settings = synth_with(github_repository="octo-org/healthcare")
    policies = [
        policy for policy in Platform(synthesis.documents(), settings).resources("aws_iam_policy")
        if policy.stack == PIPELINE and policy.name in ("state_policy", "state_write_policy")
    ]  # fmt: skip
    assert policies == []


def test_state_of_the_pipeline_cannot_be_written_by_the_pipeline(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, _ = all_settings
    policies = synthesis.json(PIPELINE)["resource"]["aws_iam_policy"]
    statements = json.loads(policies["state_write_policy"]["policy"])["Statement"]
    own = f"arn:aws:s3:::healthcare-dr-state/all-on-1/{PIPELINE}.tfstate"
    assert [each["Effect"] for each in statements if each["Resource"] == own] == ["Deny"]
    plan = json.loads(policies["state_policy"]["policy"])["Statement"]
    written = [each["Resource"] for each in plan if "s3:PutObject" in each["Action"]]
    assert written == ["arn:aws:s3:::healthcare-dr-state/all-on-1/*.tfstate.tflock"]
