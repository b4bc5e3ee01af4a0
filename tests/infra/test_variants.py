"""The rules accept stacks with other settings, and find damage to them."""

import json
from collections.abc import Callable

import pytest

from healthcare_dr.infra import Synthesis
from healthcare_dr.infra.lint import RULES, check
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.naming import GLOBAL, PRIMARY, STACKS
from healthcare_dr.settings import Settings
from infra.damage import Damage, Documents, finds, parameters, remove_one, resource
from infra.mutations_operations import notification_mutations

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
ZONE = resource(GLOBAL, "aws_route53_zone.zone")
API_RECORD = resource(GLOBAL, "aws_route53_record.api_primary")
CERTIFICATE = resource(GLOBAL, "aws_acm_certificate.certificate_secondary")
CUSTOM_DOMAIN = resource(GLOBAL, "aws_apigatewayv2_domain_name.api_domain_primary")


@pytest.mark.requirement("R4.3", "R7.2", "C6")
@pytest.mark.trap(31)
@pytest.mark.parametrize(
    ("rules", "damage"),
    [
        (["topics"], resource(PRIMARY, "aws_sns_topic_subscription.operations_email_1").remove()),
        (["zone-own-domain"], ZONE.put("name", "healthcare-dr-all-on-1.com")),
        (["shared-name", "weighted-records"], API_RECORD.put("name", "api.healthcare-dr-all-on-1.com")),
        (["shared-name"], CERTIFICATE.put("domain_name", "dr.clinic-one.org")),
        (["shared-name"], CUSTOM_DOMAIN.put("domain_name", "api.healthcare-dr-all-on-1.com")),
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
    endpoints = [f"${{var.operations_endpoints[{number}]}}" for number in range(2)]
    assert sorted(found) == [
        (region, address)
        for region in ("us-east-1", "us-west-2")
        for address in (
            "${aws_lambda_function.notification_relay.arn}",
            *endpoints,
            "one@example.org",
            "two@example.org",
        )
    ]


@pytest.mark.requirement("R7.2", "C5")
@pytest.mark.parametrize(("rule", "damage"), parameters(notification_mutations()))
def test_rule_finds_damage_to_notifications(
    rule: str, damage: Damage, all_settings: tuple[Synthesis, Settings]
) -> None:
    synthesis, settings = all_settings
    documents: Documents = synthesis.documents()
    damage.apply(documents)
    assert finds(rule, documents, settings)


@pytest.mark.requirement("R7.2")
def test_without_endpoints_nothing_is_deployed_for_them(platform: Platform) -> None:
    assert not list(platform.resources("aws_sqs_queue", "aws_sns_topic_subscription", "aws_ssm_parameter"))
    assert not platform.functions("notification-relay")
    assert not any("operations_endpoints" in document.get("variable", {}) for document in platform.documents.values())


@pytest.mark.requirement("R7.2", "C5")
@pytest.mark.parametrize(
    ("recipients", "kinds"),
    [
        ({"operations_endpoints": "https://pager.example.org/x"}, {"https"}),
        ({"operations_webhooks": "https://hooks.example.org/x"}, {"lambda"}),
    ],
    ids=["endpoints", "webhooks"],
)
def test_recipients_of_one_kind_are_subscribed(
    recipients: dict[str, str], kinds: set[str], synth_with: Variant
) -> None:
    synthesis, settings = synth_with(**recipients)
    variant = Platform(synthesis.documents(), settings)
    assert [str(finding) for finding in check(variant.documents, settings)] == []
    for region in settings.regions:
        subscriptions = variant.resources("aws_sns_topic_subscription", region=region)
        assert {each.get("protocol") for each in subscriptions} == kinds
        assert len(list(variant.resources("aws_sqs_queue", region=region))) == 1


@pytest.mark.requirement("R7.2")
def test_relay_without_webhooks_is_found(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, settings = all_settings
    without = settings.model_copy(update={"operations_webhooks": ()})
    assert finds("notification-relay", synthesis.documents(), without)


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


@pytest.mark.requirement("R4.3")
def test_domain_is_that_of_the_operator_or_of_the_suffix(variant: Platform, platform: Platform) -> None:
    for found, domain in ((variant, "dr.clinic-one.org"), (platform, "healthcare-dr-dev.com")):
        assert [zone.get("name") for zone in found.resources("aws_route53_zone")] == [domain]
        assert found.documents[GLOBAL]["output"]["api_domain"]["value"] == f"api.{domain}"
    for stack in STACKS:
        assert "healthcare-dr-all-on-1.com" not in json.dumps(variant.documents[stack])


@pytest.mark.requirement("D3", "R4.3")
@pytest.mark.parametrize("domain", ["dr.example.org", "example.com", "clinic.test", "clinic.internal", "on.aws"])
def test_reserved_domain_is_found_also_where_the_settings_contain_it(
    domain: str, all_settings: tuple[Synthesis, Settings]
) -> None:
    synthesis, settings = all_settings
    documents: Documents = synthesis.documents()
    ZONE.put("name", domain).apply(documents)
    # A copy is not validated.
    reserved = Platform(documents, settings.model_copy(update={"domain": domain}))
    assert [problem for _, problem in RULES["zone-own-domain"].examine(reserved)] == [f"{domain} is a reserved domain"]


@pytest.mark.requirement("D7")
def test_every_name_contains_the_suffix(all_settings: tuple[Synthesis, Settings]) -> None:
    synthesis, _ = all_settings
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
