"""Settings that change what is deployed keep every rule."""

from collections.abc import Callable

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint import check
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.naming import GLOBAL, PRIMARY, STACKS
from healthcare_dr.settings import Settings

Variant = Callable[..., tuple[Synthesis, Settings]]


@pytest.fixture(scope="module")
def everything_on(synth_with: Variant) -> tuple[Synthesis, Settings]:
    return synth_with(
        environment_suffix="all-on-1",
        dns_delegated=True,
        fault_injection=True,
        operations_emails="one@example.org, two@example.org",
        state_bucket="healthcare-dr-state",
        primary_weight=60,
        secondary_weight=40,
        dns_ttl=5,
        cors_origins="https://app.example.com, https://other.example.com",
        primary_cidr="10.8.0.0/16",
        secondary_cidr="10.9.0.0/20",
    )


def test_every_setting_together_breaks_no_rule(everything_on: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = everything_on
    assert [str(finding) for finding in check(synthesis.documents(), settings)] == []


@pytest.mark.requirement("R7.2")
def test_operations_are_subscribed_in_both_regions(everything_on: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = everything_on
    documents = synthesis.documents()
    found = [
        (subscription.region, subscription.get("endpoint"))
        for subscription in Platform(documents, settings).resources("aws_sns_topic_subscription")
    ]
    assert sorted(found) == [
        (region, email) for region in ("us-east-1", "us-west-2") for email in ("one@example.org", "two@example.org")
    ]
    documents[PRIMARY]["resource"]["aws_sns_topic_subscription"].popitem()
    assert {finding.rule.name for finding in check(documents, settings)} == {"topics"}


def test_the_configured_origins_are_allowed_in_both_regions(everything_on: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = everything_on
    apis = list(Platform(synthesis.documents(), settings).resources("aws_apigatewayv2_api"))
    assert len(apis) == 2
    for api in apis:
        assert set(api.get("cors_configuration")) == {
            "allow_origins", "allow_methods", "allow_headers", "expose_headers", "max_age",
        }  # fmt: skip
        assert api.get("cors_configuration", "allow_origins") == [
            "https://app.example.com",
            "https://other.example.com",
        ]
    buckets = list(Platform(synthesis.documents(), settings).resources("aws_s3_bucket_cors_configuration"))
    assert sorted(bucket.region for bucket in buckets) == ["us-east-1", "us-west-2"]
    documents = synthesis.documents()
    documents[GLOBAL]["resource"]["aws_s3_bucket_cors_configuration"].popitem()
    assert {finding.rule.name for finding in check(documents, settings)} == {"cors-origins"}


@pytest.mark.requirement("C6")
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("allow_origins", ["*"]),
        ("allow_origins", ["https://app.example.com"]),
        ("allow_credentials", True),
        ("expose_headers", ["location", "last-modified", "retry-after"]),
    ],
)
def test_other_origins_and_hidden_tags_are_found(
    everything_on: tuple[Synthesis, Settings], attribute: str, value: object
) -> None:
    synthesis, settings = everything_on
    documents = synthesis.documents()
    documents[PRIMARY]["resource"]["aws_apigatewayv2_api"]["patient_http_api"]["cors_configuration"][attribute] = value
    assert {finding.rule.name for finding in check(documents, settings)} == {"cors-origins"}


@pytest.mark.trap(31)
@pytest.mark.parametrize("kind", ["aws_acm_certificate", "aws_apigatewayv2_domain_name"])
def test_a_delegated_zone_needs_a_certificate_in_each_region(
    everything_on: tuple[Synthesis, Settings], kind: str
) -> None:
    synthesis, settings = everything_on
    documents = synthesis.documents()
    documents[GLOBAL]["resource"][kind].popitem()
    assert "certificates" in {finding.rule.name for finding in check(documents, settings)}


@pytest.mark.trap(30)
def test_no_certificate_is_waited_for_without_a_delegation(platform: Platform) -> None:
    assert not list(platform.resources("aws_acm_certificate", "aws_acm_certificate_validation"))


@pytest.mark.trap(37)
def test_state_lives_where_the_loss_of_us_east_1_does_not_reach(everything_on: tuple[Synthesis, Settings]) -> None:
    synthesis, _ = everything_on
    for stack in STACKS:
        backend = synthesis.json(stack)["terraform"]["backend"]["s3"]
        assert backend["region"] == "us-west-2"
        assert backend["key"] == f"all-on-1/{stack}.tfstate"


def test_fault_injection_is_off_by_default(platform: Platform, everything_on: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = everything_on
    assert not list(platform.resources("aws_fis_experiment_template"))
    regions = [
        template.region
        for template in Platform(synthesis.documents(), settings).resources("aws_fis_experiment_template")
    ]
    assert sorted(regions) == ["us-east-1"] * 3 + ["us-west-2"] * 3


@pytest.mark.requirement("D7", "R4.3")
def test_the_suffix_reaches_every_name(everything_on: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = everything_on
    zones = list(Platform(synthesis.documents(), settings).resources("aws_route53_zone"))
    assert [zone.get("name") for zone in zones] == ["healthcare-dr-all-on-1.com"]
    for stack in STACKS:
        assert "-dev" not in (synthesis.folder(stack) / "cdk.tf.json").read_text()


def test_the_longest_suffix_fits_every_service(synth_with: Variant) -> None:
    synthesis, settings = synth_with(environment_suffix="a" * 20, secondary_region="ap-southeast-2")
    platform = Platform(synthesis.documents(), settings)
    for role in platform.resources("aws_iam_role"):
        assert len(role.get("name")) <= 64
    for bucket in platform.resources("aws_s3_bucket"):
        account = "123456789012"
        name = bucket.get("bucket").replace("${data.aws_caller_identity.account.account_id}", account)
        assert account in name
        assert len(name) <= 63
