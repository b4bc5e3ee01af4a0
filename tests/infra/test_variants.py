"""The rules accept stacks with other settings, and find damage to them."""

from collections.abc import Callable

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint import check
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.naming import GLOBAL, PRIMARY, STACKS
from healthcare_dr.settings import Settings
from infra.damage import Damage, Documents, remove_one, resource

Variant = Callable[..., tuple[Synthesis, Settings]]


@pytest.fixture(scope="module")
def variant(all_settings: tuple[Synthesis, Settings]) -> Platform:
    synthesis, settings = all_settings
    return Platform(synthesis.documents(), settings)


def regions(platform: Platform, kind: str) -> list[str]:
    return sorted(resource.region for resource in platform.resources(kind))


def test_every_setting_together_breaks_no_rule(variant: Platform) -> None:
    assert [str(finding) for finding in check(variant.documents, variant.settings)] == []


CORS = resource(PRIMARY, "aws_apigatewayv2_api.patient_http_api")


@pytest.mark.requirement("R7.2", "C6")
@pytest.mark.trap(31)
@pytest.mark.parametrize(
    ("rules", "damage"),
    [
        (["topics"], remove_one(PRIMARY, "aws_sns_topic_subscription")),
        (["certificates"], remove_one(GLOBAL, "aws_acm_certificate")),
        (["certificates", "weighted-records"], remove_one(GLOBAL, "aws_apigatewayv2_domain_name")),
        (["cors-origins"], remove_one(GLOBAL, "aws_s3_bucket_cors_configuration")),
        (["cors-origins"], CORS.put("cors_configuration.allow_origins", ["*"])),
        (["cors-origins"], CORS.put("cors_configuration.allow_origins", ["https://app.example.com"])),
        (["cors-origins"], CORS.put("cors_configuration.allow_credentials", True)),
        (["cors-origins"], CORS.put("cors_configuration.expose_headers", ["location", "last-modified", "retry-after"])),
    ],
    ids=str,
)
def test_rules_find_damage_to_a_variant(
    rules: list[str], damage: Damage, all_settings: tuple[Synthesis, Settings]
) -> None:
    synthesis, settings = all_settings
    documents: Documents = synthesis.documents()
    damage.apply(documents)
    assert rules == sorted({finding.rule.name for finding in check(documents, settings)})


@pytest.mark.requirement("R7.2")
def test_operations_are_subscribed_in_both_regions(variant: Platform) -> None:
    found = [
        (subscription.region, subscription.get("endpoint"))
        for subscription in variant.resources("aws_sns_topic_subscription")
    ]
    assert sorted(found) == [
        (region, email) for region in ("us-east-1", "us-west-2") for email in ("one@example.org", "two@example.org")
    ]


def test_configured_origins_are_allowed_in_both_regions(variant: Platform) -> None:
    apis = list(variant.resources("aws_apigatewayv2_api"))
    assert len(apis) == 2
    for api in apis:
        assert set(api.get("cors_configuration")) == {
            "allow_origins", "allow_methods", "allow_headers", "expose_headers", "max_age",
        }  # fmt: skip
        assert api.get("cors_configuration", "allow_origins") == [
            "https://app.example.com",
            "https://other.example.com",
        ]
    assert regions(variant, "aws_s3_bucket_cors_configuration") == ["us-east-1", "us-west-2"]


@pytest.mark.trap(30)
def test_without_a_delegation_no_certificate_is_validated(platform: Platform) -> None:
    assert not list(platform.resources("aws_acm_certificate", "aws_acm_certificate_validation"))


@pytest.mark.trap(37)
def test_state_is_not_in_us_east_1(variant: Platform) -> None:
    for stack in STACKS:
        backend = variant.documents[stack]["terraform"]["backend"]["s3"]
        assert backend["region"] == "us-west-2"
        assert backend["key"] == f"all-on-1/{stack}.tfstate"


def test_fault_injection_is_off_by_default(platform: Platform, variant: Platform) -> None:
    assert not list(platform.resources("aws_fis_experiment_template"))
    assert regions(variant, "aws_fis_experiment_template") == ["us-east-1"] * 3 + ["us-west-2"] * 3


@pytest.mark.requirement("D7", "R4.3")
def test_every_name_contains_the_suffix(variant: Platform, all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, _ = all_settings
    assert [zone.get("name") for zone in variant.resources("aws_route53_zone")] == ["healthcare-dr-all-on-1.com"]
    for stack in STACKS:
        assert "-dev" not in (synthesis.folder(stack) / "cdk.tf.json").read_text()


def test_longest_suffix_fits_the_limits_of_every_service(synth_with: Variant) -> None:
    synthesis, settings = synth_with(environment_suffix="a" * 20, secondary_region="ap-southeast-2")
    platform = Platform(synthesis.documents(), settings)
    for role in platform.resources("aws_iam_role"):
        assert len(role.get("name")) <= 64
    for bucket in platform.resources("aws_s3_bucket"):
        account = "123456789012"
        name = bucket.get("bucket").replace("${data.aws_caller_identity.account.account_id}", account)
        assert account in name
        assert len(name) <= 63
