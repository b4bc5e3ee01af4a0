"""The rules accept the synthesized JSON, and each finds the damage that it guards against."""

import subprocess
import sys

import pytest

from healthcare_dr.infra.lint import RULES, check
from healthcare_dr.settings import Settings
from infra.damage import Damage, Documents, finds, parameters
from infra.mutations_compute import compute_mutations
from infra.mutations_data import data_mutations
from infra.mutations_operations import fault_mutations, notification_mutations, operations_mutations
from infra.mutations_pipeline import pipeline_mutations

MUTATIONS = [*data_mutations(), *compute_mutations(), *operations_mutations()]


def test_synthesized_platform_has_no_finding(documents: Documents, settings: Settings) -> None:
    assert [str(finding) for finding in check(documents, settings)] == []


@pytest.mark.parametrize(("rule", "damage"), parameters(MUTATIONS))
def test_rule_finds_damage(rule: str, damage: Damage, documents: Documents, settings: Settings) -> None:
    damage.apply(documents)
    assert finds(rule, documents, settings)


def test_every_rule_is_proven_by_a_mutation() -> None:
    optional = (*fault_mutations(), *notification_mutations(), *pipeline_mutations())
    assert set(RULES) == {rule for rule, _ in (*MUTATIONS, *optional)}


def test_finding_contains_place_problem_rule_and_reason(documents: Documents, settings: Settings) -> None:
    table = documents["healthcare-dr-global"]["resource"]["aws_dynamodb_table"]["audit_logs"]
    table["replica"][0]["point_in_time_recovery"] = False
    (finding,) = check(documents, settings)
    assert str(finding) == (
        "healthcare-dr-global/aws_dynamodb_table.audit_logs: the replica in us-west-2 lacks point_in_time_recovery "
        "[table-recovery; R1.4, trap 4, C6] "
        "Point-in-time recovery is set for each replica; the table's own setting does not reach them."
    )


def test_rules_do_not_import_the_bindings() -> None:
    """Importing `cdktn` starts Node."""
    script = "import sys, healthcare_dr.infra.lint; sys.exit('cdktn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
