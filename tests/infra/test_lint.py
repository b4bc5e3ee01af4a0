"""The checks reject the synthesized JSON when it is damaged in any one way, and accept it as it is."""

import pytest

from healthcare_dr.infra.lint import RULES, check
from healthcare_dr.settings import Settings
from infra.conftest import Documents
from infra.mutations import Mutation, data_mutations, document_mutations
from infra.mutations_details import (
    detail_mutations,
    detail_mutations_of_data,
    detail_mutations_of_networks,
    detail_mutations_of_stacks,
)
from infra.mutations_faults import fault_mutations
from infra.mutations_platform import compute_mutations, key_mutations, network_mutations, platform_mutations
from infra.mutations_routes import route_mutations
from infra.mutations_sentinel import sentinel_mutations
from infra.mutations_traffic import alarm_mutations, traffic_mutations
from infra.mutations_workers import index_key_mutations, privilege_mutations, worker_mutations

MUTATIONS = [
    *data_mutations(),
    *document_mutations(),
    *traffic_mutations(),
    *alarm_mutations(),
    *key_mutations(),
    *compute_mutations(),
    *network_mutations(),
    *platform_mutations(),
    *worker_mutations(),
    *sentinel_mutations(),
    *privilege_mutations(),
    *index_key_mutations(),
    *route_mutations(),
    *detail_mutations(),
    *detail_mutations_of_networks(),
    *detail_mutations_of_stacks(),
    *detail_mutations_of_data(),
]


def test_the_platform_as_it_is_breaks_no_rule(documents: Documents, settings: Settings) -> None:
    assert [str(finding) for finding in check(documents, settings)] == []


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(
            mutation,
            id=mutation.name,
            marks=[pytest.mark.requirement(*mutation.requirements), pytest.mark.trap(*mutation.traps)],
        )
        for mutation in MUTATIONS
    ],
)
def test_damage_is_found(mutation: Mutation, documents: Documents, settings: Settings) -> None:
    mutation.damage(documents)
    assert mutation.is_found(documents, settings)


def test_every_rule_is_proven_by_a_mutation() -> None:
    assert set(RULES) == {mutation.rule for mutation in (*MUTATIONS, *fault_mutations())}


def test_a_finding_explains_itself(documents: Documents, settings: Settings) -> None:
    table = documents["healthcare-dr-global"]["resource"]["aws_dynamodb_table"]["audit_logs"]
    table["replica"][0]["point_in_time_recovery"] = False
    (finding,) = check(documents, settings)
    assert str(finding) == (
        "healthcare-dr-global/aws_dynamodb_table.audit_logs: the replica in us-west-2 lacks point_in_time_recovery "
        "[table-recovery; R1.4, trap 4, C6] "
        "Point-in-time recovery is set for each replica; the table's own setting does not reach them."
    )
