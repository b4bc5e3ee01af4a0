"""The global stack waits for the resources of the incomplete regional stacks that it needs."""

import json
import re
from typing import Any

import pytest

from healthcare_dr.naming import GLOBAL, PRIMARY, SECONDARY
from healthcare_dr.ops.deploy import LOOKED_UP, REFERRED_TO
from infra.damage import Documents

FINDS = {
    "aws_apigatewayv2_apis": "aws_apigatewayv2_api",
    "aws_kms_alias": "aws_kms_alias",
    "aws_route_table": "aws_route_table",
    "aws_vpc": "aws_vpc",
}
REGIONS = {PRIMARY: "primary", SECONDARY: "secondary"}


def name_of(body: dict[str, Any]) -> str:
    """Return the name by which another stack can find a resource."""
    found = body.get("function_name") or body.get("name") or body.get("tags", {}).get("Name") or ""
    return str(found)


def resources(documents: Documents, stack: str) -> dict[str, dict[str, Any]]:
    return {
        f"{kind}.{name}": body for kind, bodies in documents[stack]["resource"].items() for name, body in bodies.items()
    }


@pytest.mark.parametrize("stack", REGIONS)
def test_global_stack_is_planned_once_its_data_sources_exist(documents: Documents, stack: str) -> None:
    looked_up = set()
    for kind, sources in documents[GLOBAL]["data"].items():
        if kind == "aws_caller_identity":
            continue
        for identifier, source in sources.items():
            if not identifier.endswith(f"_{REGIONS[stack]}"):
                continue
            (address,) = [
                address
                for address, body in resources(documents, stack).items()
                if address.startswith(f"{FINDS[kind]}.") and name_of(body) == name_of(source)
            ]
            looked_up.add(address)
    assert looked_up == LOOKED_UP


@pytest.mark.parametrize("stack", REGIONS)
def test_global_stack_is_applied_once_its_references_exist(documents: Documents, stack: str) -> None:
    spanning = documents[GLOBAL]["resource"]
    # AWS checks that the principals of a key policy exist, but not the roles in conditions of other policies.
    key_policies = json.dumps([spanning["aws_kms_key"], spanning["aws_kms_replica_key"]])
    referring = json.dumps({kind: bodies for kind, bodies in spanning.items() if kind != "aws_cloudwatch_dashboard"})
    here = resources(documents, stack)
    named = {
        address
        for address, body in here.items()
        for kind, text, mark in (
            ("aws_iam_role", key_policies, ":role/"),
            ("aws_lambda_function", referring, ":function:"),
        )
        if address.startswith(f"{kind}.") and re.search(re.escape(mark + name_of(body)) + r'[\\"]', text)
    }
    assert named == {
        address for address in REFERRED_TO if address.split(".")[0] in ("aws_iam_role", "aws_lambda_function")
    }
    policies = {address: body for address, body in here.items() if address in REFERRED_TO}
    assert set(policies) == REFERRED_TO
    assert "aws_sns_topic.operations_topic" in policies["aws_sns_topic_policy.operations_topic_policy"]["arn"]
    permission = policies["aws_lambda_permission.documents_permission"]
    assert permission["principal"] == "s3.amazonaws.com"
    assert "aws_lambda_function.document_confirmation" in permission["function_name"]


@pytest.mark.parametrize("stack", REGIONS)
def test_functions_that_the_global_stack_names_are_created_before_the_others(documents: Documents, stack: str) -> None:
    """The provider creates one function at a time, in the order in which they can be created."""
    functions = documents[stack]["resource"]["aws_lambda_function"]
    workers = ["aws_lambda_function.document_confirmation", "aws_lambda_function.reconciliation"]
    assert not any(worker in functions[worker.split(".")[1]]["depends_on"] for worker in workers)
    assert set(workers) <= set(functions["patient_api"]["depends_on"])
    assert "aws_lambda_function.patient_api" in functions["sentinel"]["depends_on"]
