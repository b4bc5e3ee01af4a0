"""Checks of the functions."""

from typing import Any

import pytest

from unit.ops.verify.fakes import Answers, deployed, live, problems, resource

SERVED = deployed(
    primary=[
        resource("aws_lambda_function", "api", function_name="api"),
        resource("aws_lambda_alias", "live", function_name="api", name="live", function_version="7", routing_config=[]),
    ]
)


@pytest.mark.requirement("R2.1")
@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ({}, []),
        ({"RoutingConfig": {"AdditionalVersionWeights": {}}}, []),
        (
            {"RoutingConfig": {"AdditionalVersionWeights": {"6": 0.5}}},
            ["api: live shares its calls with other versions: {'6': 0.5}"],
        ),
        ({"FunctionVersion": "6"}, ["api: live calls version 6, not 7"]),
    ],
)
def test_alias_invokes_only_the_deployed_version(alias: dict[str, Any], expected: list[str]) -> None:
    answers: Answers = {
        ("lambda", "get_function_configuration"): {},
        ("lambda", "get_alias"): {"FunctionVersion": "7"} | alias,
    }
    assert problems("functions", live(answers, held=SERVED)) == expected
