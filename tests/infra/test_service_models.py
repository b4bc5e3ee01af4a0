"""Arguments that AWS would refuse are found in the service models that botocore contains."""

from collections.abc import Callable
from typing import Any

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.infra.lint.service_models import CALLS, EXCEPTIONS, coverage_of, service_models
from healthcare_dr.naming import GLOBAL, PRIMARY
from healthcare_dr.settings import Settings
from infra.damage import Documents

Body = dict[str, Any]


def some(documents: Documents, stack: str, kind: str) -> Body:
    body: Body = next(iter(documents[stack]["resource"][kind].values()))
    return body


def found(documents: Documents, settings: Settings) -> list[str]:
    return [problem for _, problem in service_models(Platform(documents, settings))]


@pytest.mark.parametrize(
    ("stack", "kind", "change", "problem"),
    [
        pytest.param(
            PRIMARY, "aws_cloudwatch_metric_alarm", lambda body: body.update(alarm_actions=["${a.b.arn}"] * 6),
            "alarm_actions has 6 entries, more than 5", id="count of references",
        ),
        pytest.param(
            PRIMARY, "aws_cloudwatch_metric_alarm", lambda body: body.update(statistic="Median"),
            "statistic is Median, not one of SampleCount, Average, Sum, Minimum, Maximum", id="enumeration",
        ),
        pytest.param(
            PRIMARY, "aws_cloudwatch_metric_alarm", lambda body: body.update(alarm_name="a" * 256),
            "alarm_name has 256 characters, more than 255", id="length",
        ),
        pytest.param(
            PRIMARY, "aws_lambda_function", lambda body: body.update(memory_size=64),
            "memory_size is 64, fewer than 128", id="range",
        ),
        pytest.param(
            PRIMARY, "aws_lambda_function", lambda body: body.update(function_name="patient api"),
            "function_name is patient api, which does not match", id="pattern",
        ),
        pytest.param(
            PRIMARY, "aws_lambda_function", lambda body: body.update(publish="yes"),
            "publish is 'yes', not true or false", id="type",
        ),
        pytest.param(
            PRIMARY, "aws_subnet", lambda body: body.update(map_public_ip="x"),
            "map_public_ip: no API call takes it; add it to CALLS or EXCEPTIONS", id="unknown argument",
        ),
        pytest.param(
            GLOBAL, "aws_dynamodb_table", lambda body: body["attribute"].append({"name": "x", "type": "BOOL"}),
            "attribute.type is BOOL, not one of S, N, B", id="within a repeated block",
        ),
        pytest.param(
            GLOBAL, "aws_dynamodb_table", lambda body: body["global_secondary_index"][0].update(name="by"),
            "global_secondary_index.name has 2 characters, fewer than 3", id="within an index",
        ),
        pytest.param(
            GLOBAL, "aws_route53_health_check", lambda body: body.update(request_interval=5),
            "request_interval is 5, fewer than 10", id="within the root",
        ),
        pytest.param(
            GLOBAL, "aws_s3_bucket_versioning", lambda body: body.update(versioning_configuration={"status": "On"}),
            "versioning_configuration.status is On, not one of Enabled, Suspended", id="within a block",
        ),
        pytest.param(
            GLOBAL, "aws_kms_key", lambda body: body["tags"].update(Name="x" * 257),
            "tags has 257 characters, more than 256", id="value of a tag",
        ),
    ],
)  # fmt: skip
def test_argument_that_aws_refuses_is_found(
    stack: str,
    kind: str,
    change: Callable[[Body], object],
    problem: str,
    documents: Documents,
    settings: Settings,
) -> None:
    change(some(documents, stack, kind))
    problems = found(documents, settings)
    assert problems
    assert [text for text in problems if not text.startswith(problem)] == []


def test_reference_to_a_literal_is_checked_as_that_literal(documents: Documents, settings: Settings) -> None:
    rule = documents[PRIMARY]["resource"]["aws_cloudwatch_event_rule"]
    for body in rule.values():
        body["name"] = "x" * 65
    problems = found(documents, settings)
    assert "name has 65 characters, more than 64" in problems
    assert "rule has 65 characters, more than 64" in problems


def test_resource_type_without_a_call_is_found(documents: Documents, settings: Settings) -> None:
    documents[PRIMARY]["resource"]["aws_instance"] = {"one": {"ami": "ami-1"}}
    assert found(documents, settings) == ["no API call is known for aws_instance; add it to CALLS in service_models.py"]


def test_nearly_all_arguments_are_checked(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    measured = coverage_of(synthesis.documents(), settings)
    assert measured.total - measured.checked == sum(measured.exceptions.values())
    assert measured.checked / measured.total > 0.98
    assert 0 < measured.references < measured.checked / 2
    first, *exceptions = measured.lines()
    assert f"{measured.checked} of {measured.total} arguments" in first
    assert len(exceptions) == len(measured.exceptions)
    assert measured.exceptions.keys() <= EXCEPTIONS.keys()


def test_every_call_and_exception_is_needed(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    platform = Platform(synthesis.documents(), settings)
    assert CALLS.keys() == {resource.kind for resource in platform.resources()}
    assert EXCEPTIONS.keys() == coverage_of(synthesis.documents(), settings).exceptions.keys()
