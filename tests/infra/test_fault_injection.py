"""With fault injection, FIS may break only what a drill needs, and a drill finds its templates."""

import copy
import json
from collections.abc import Callable

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.fault_plan import TEMPLATES
from healthcare_dr.infra.lint import check
from healthcare_dr.infra.lint.model import Platform, Resource
from healthcare_dr.naming import PRIMARY
from healthcare_dr.settings import Settings
from infra.damage import Damage, Documents, add, finds, parameters
from infra.mutations_operations import TEMPLATE, fault_mutations

Injected = tuple[Synthesis, Settings]


@pytest.fixture(scope="module")
def injected(synth_with: Callable[..., Injected]) -> Injected:
    return synth_with(fault_injection=True)


@pytest.mark.parametrize(("rule", "damage"), parameters(fault_mutations()))
def test_rule_finds_damage_to_fault_injection(rule: str, damage: Damage, injected: Injected) -> None:
    synthesis, settings = injected
    documents = copy.deepcopy(synthesis.documents())
    damage.apply(documents)
    assert finds(rule, documents, settings)


def test_unrequested_templates_are_found(documents: Documents, settings: Settings) -> None:
    stray = add(PRIMARY, f"{TEMPLATE}.stray", {"tags": {"Name": "healthcare-dr-pause-tables-us-east-1-dev"}})
    stray.apply(documents)
    assert "fault-templates" in {finding.rule.name for finding in check(documents, settings)}


@pytest.fixture(scope="module")
def templates(injected: Injected) -> dict[str, Resource]:
    synthesis, settings = injected
    return {found.get("tags", "Name"): found for found in Platform(synthesis.documents(), settings).resources(TEMPLATE)}


@pytest.mark.requirement("D7")
def test_templates_have_the_names_by_which_drills_find_them(templates: dict[str, Resource], injected: Injected) -> None:
    _, settings = injected
    names = settings.names
    assert set(templates) == {names.of(name, region) for name in TEMPLATES for region in settings.regions}


@pytest.mark.parametrize(("region", "peer"), [("us-east-1", "us-west-2"), ("us-west-2", "us-east-1")])
def test_disconnection_covers_every_fis_action(
    templates: dict[str, Resource], injected: Injected, region: str, peer: str
) -> None:
    template = templates[f"healthcare-dr-disconnect-{region}-dev"]
    assert template.region == region
    actions = {
        action["action_id"]: {each["key"]: each["value"] for each in action["parameter"]}
        for action in template.blocks("action")
    }
    assert actions == {
        "aws:dynamodb:global-table-pause-replication": {"duration": "PT30M"},
        "aws:s3:bucket-pause-replication": {"duration": "PT30M", "region": peer},
        "aws:network:route-table-disrupt-cross-region-connectivity": {"duration": "PT30M", "region": peer},
    }
    synthesis, settings = injected
    cut = next(target for target in template.blocks("target") if target["resource_type"] == "aws:ec2:subnet")
    (tag,) = cut["resource_tag"]
    assert "resource_arns" not in cut
    platform = Platform(synthesis.documents(), settings)
    chosen = [found for found in platform.resources("aws_subnet") if found.get("tags").get(tag["key"]) == tag["value"]]
    assert chosen == list(platform.resources("aws_subnet", region=region))
    # The default quota of this action.
    assert len(chosen) == 6


def test_pause_may_change_the_policies_of_streams(injected: Injected) -> None:
    """FIS denies replication by policies of the table and its stream. Without the stream's policy the action fails."""
    synthesis, settings = injected
    for holder in Platform(synthesis.documents(), settings).resources("aws_iam_role_policy"):
        found = {statement["Sid"]: statement for statement in holder.statements("policy")}
        if "PauseTables" in found:
            resources = found["PauseTables"]["Resource"]
            assert sum(arn.endswith("/stream/*") for arn in resources) == 2, json.dumps(resources)
