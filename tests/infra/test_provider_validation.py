"""The provider's own checks accept the resources with literals in place of references, and refuse damaged ones."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.infra.lint.service_models import service_models
from healthcare_dr.naming import PRIMARY
from healthcare_dr.settings import Settings
from infra.damage import Documents
from infra.literals import Resources, literal, merged
from infra.provider import Diagnostics, diagnostics_of

Body = dict[str, Any]
ISSUERS = ("", "https://issuer.clinic-one.org")
SUBNETS = [f"arn:aws:ec2:us-east-1:123456789012:subnet/subnet-{number:017x}" for number in range(6)]


def name_subnets(template: Body) -> None:
    """Select the subnets of a FIS target by their ARNs instead of a tag."""
    target = next(target for target in template["target"] if target["resource_type"] == "aws:ec2:subnet")
    del target["resource_tag"]
    target["resource_arns"] = SUBNETS


DAMAGES: dict[str, tuple[str, Callable[[Body], object], str]] = {
    "fis_subnets": (
        "aws_fis_experiment_template.disconnect_primary", name_subnets,
        "target.0.resource_arns supports 5 item maximum, but config has 6",
    ),
    "arn": (
        "aws_iam_role_policy_attachment.patient_api_permissions", lambda body: body.update(policy_arn="policy"),
        "is an invalid ARN",
    ),
    "alias": ("aws_kms_alias.data_key_alias", lambda body: body.update(name="data"), "must begin with 'alias/'"),
    "memory": ("aws_lambda_function.patient_api", lambda body: body.update(memory_size=64), "to be in the range (128"),
    "unknown": ("aws_flow_log.flow_log", lambda body: body.update(log_group="x"), 'No argument or block type is named'),
    "missing": ("aws_subnet.private_subnet_1", lambda body: body.pop("vpc_id"), 'The argument "vpc_id" is required'),
}  # fmt: skip
"""A resource of the primary stack by the damage's name, the damage, and a part of the provider's error."""


@pytest.fixture(scope="module")
def validated(
    synthesis: Synthesis,
    settings: Settings,
    all_settings: tuple[Synthesis, Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Resources, Diagnostics]:
    """All resources, damaged ones beside them, and the findings of one run of Terraform, which takes seconds."""
    every, every_setting = all_settings
    resources = merged(
        *(literal(synthesis.documents(), settings, issuer=issuer) for issuer in ISSUERS),
        *(literal(every.documents(), every_setting, issuer=issuer) for issuer in ISSUERS),
    )
    originals = literal(every.documents(), every_setting, issuer=ISSUERS[0])
    for name, (address, damage, _) in DAMAGES.items():
        kind, _, resource = address.partition(".")
        damaged = copy.deepcopy(originals[kind][f"{PRIMARY}_{resource}"])
        damage(damaged)
        resources[kind][f"damaged_{name}"] = damaged
    return resources, diagnostics_of(resources, tmp_path_factory.mktemp("provider"))


@pytest.mark.requirement("D8")
def test_provider_accepts_every_resource_with_literals_for_references(validated: tuple[Resources, Diagnostics]) -> None:
    resources, diagnostics = validated
    assert sum(len(named) for named in resources.values()) > 400
    assert {address: text for address, text in diagnostics.items() if ".damaged_" not in address} == {}


@pytest.mark.parametrize("name", DAMAGES)
def test_provider_refuses_a_damaged_resource(name: str, validated: tuple[Resources, Diagnostics]) -> None:
    address, _, expected = DAMAGES[name]
    _, diagnostics = validated
    assert expected in diagnostics[f"{address.partition('.')[0]}.damaged_{name}"]


def test_service_model_refuses_more_targets_than_fis_accepts(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    documents: Documents = synthesis.documents()
    name_subnets(documents[PRIMARY]["resource"]["aws_fis_experiment_template"]["disconnect_primary"])
    problems = [problem for _, problem in service_models(Platform(documents, settings))]
    assert problems == ["target.resource_arns has 6 entries, more than 5"]
