"""Settings are validated and immutable; each error is one line with variable, value and allowed values."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.errors import SettingsError
from healthcare_dr.settings import SECRET, Settings, load_settings, variable_names

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run each test without a `.env` and without the variables of the test run."""
    monkeypatch.chdir(tmp_path)
    for name in variable_names():
        monkeypatch.delenv(name, raising=False)


@pytest.mark.requirement("D7")
def test_suffix_is_read_from_its_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT_SUFFIX", "staging-2")
    assert load_settings().environment_suffix == "staging-2"


@pytest.mark.requirement("R4.1", "R4.2", "R8.1")
def test_defaults_meet_the_requirements() -> None:
    settings = load_settings()
    assert settings.environment_suffix == "dev"
    assert settings.regions == ("us-east-1", "us-west-2")
    assert (settings.primary_weight, settings.secondary_weight) == (70, 30)
    assert (settings.health_check_interval, settings.failure_threshold, settings.dns_ttl) == (10, 3, 10)
    assert settings.audit_retention_days >= 6 * 365
    assert settings.dns_delegated is False
    assert settings.fault_injection is False


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("ENVIRONMENT_SUFFIX", "-dev", "must be 1 to 20 characters of a-z"),
        ("ENVIRONMENT_SUFFIX", "dev-", "must be 1 to 20 characters of a-z"),
        ("ENVIRONMENT_SUFFIX", "a" * 21, "must be 1 to 20 characters of a-z"),
        ("ENVIRONMENT_SUFFIX", "Dev", "must be 1 to 20 characters of a-z"),
        ("HDR_PRIMARY_REGION", "Virginia", "an AWS region such as us-east-1"),
        ("HDR_SECONDARY_REGION", "us-gov-west-1", "of the partition aws, not of China or GovCloud"),
        ("HDR_SECONDARY_REGION", "cn-north-1", "of the partition aws, not of China or GovCloud"),
        ("HDR_SECONDARY_REGION", "xx-nowhere-9", "an AWS region such as us-west-2"),
        ("HDR_SECONDARY_REGION", "us-west-9", "an AWS region such as us-west-2"),
        ("HDR_GITHUB_REPOSITORY", "owner", "owner/name, or owner@id/name@id"),
        ("HDR_GITHUB_REPOSITORY", "owner/*", "owner/name, or owner@id/name@id"),
        ("HDR_GITHUB_REPOSITORY", "owner@1/name", "owner/name, or owner@id/name@id"),
        ("HDR_GITHUB_ENVIRONMENT", "pro*", "the name of an environment"),
        ("HDR_GITHUB_BRANCH", "release/*", "the name of a branch"),
        ("HDR_PRIMARY_CIDR", "10.0.0.0/24", "an IPv4 network from /16 to /20"),
        ("HDR_SECONDARY_CIDR", "10.1.2.3/16", "an IPv4 network from /16 to /20"),
        ("HDR_PRIMARY_WEIGHT", "256", "0 to 255"),
        ("HDR_DNS_TTL", "300", "1 to 60 (seconds)"),
        ("HDR_HEALTH_CHECK_INTERVAL", "20", "10 or 30"),
        ("HDR_DOMAIN", "clinic", "two or more labels"),
        ("HDR_DOMAIN", "DR.Clinic-One.org", "in lower case"),
        ("HDR_DOMAIN", "dr.clinic-one.org.", "without a final dot"),
        ("HDR_DOMAIN", "klinik-m\u00fcnchen.de", "xn-- for other scripts"),
        ("HDR_DOMAIN", "xn--\u00fc.de", "xn-- for other scripts"),
        ("HDR_DOMAIN", "ab--cd.clinic-one.org", "xn-- for other scripts"),
        ("HDR_DOMAIN", "xn--99999999.clinic-one.org", "xn-- for other scripts"),
        ("HDR_DOMAIN", "-dr.clinic-one.org", "inner hyphens"),
        ("HDR_DOMAIN", "d_r.clinic-one.org", "a-z, 0-9 and inner hyphens"),
        ("HDR_DOMAIN", "*.clinic-one.org", "a-z, 0-9 and inner hyphens"),
        ("HDR_DOMAIN", "dr..clinic-one.org", "two or more labels"),
        ("HDR_DOMAIN", "10.0.0.1", "two or more labels"),
        ("HDR_DOMAIN", "https://clinic-one.org", "a-z, 0-9 and inner hyphens"),
        ("HDR_DOMAIN", "a" * 64 + ".org", "1 to 63 characters each"),
        ("HDR_DOMAIN", "a" * 57 + ".org", "60 in total"),
        ("HDR_DOMAIN", "${path.module}.org", "a-z, 0-9 and inner hyphens"),
        ("HDR_FAILURE_THRESHOLD", "0", "1 to 10 (consecutive checks)"),
        ("HDR_OPERATIONS_EMAILS", "ops@example.org, operations", "e-mail addresses"),
        ("HDR_OIDC_ISSUER", "http://issuer.example.org", "an https:// address"),
        ("HDR_OIDC_ISSUER", "https://issuer.example.org/?a=b", "without query"),
        ("HDR_OIDC_ISSUER", "https:///realm", "an https:// address"),
        ("HDR_OIDC_ISSUER", "https://issuer.example.org/${path.module}", "an https:// address"),
        ("HDR_OIDC_AUDIENCE", " ", "without a space"),
        ("HDR_OIDC_AUDIENCE", "caf\u00e9", "printable ASCII characters"),
        ("HDR_OIDC_AUDIENCE", "a${path.module}", "without ${"),
        ("HDR_OIDC_AUDIENCE", "a%{if}", "without ${ or %{"),
        ("HDR_OPERATIONS_EMAILS", "${a}@example.org", "e-mail addresses"),
        ("HDR_EMULATOR_ENDS_WITH", "9" * 30, "the id of a process"),
        ("HDR_TENANT_CLAIM", "a b", "the name of a claim"),
        ("HDR_CORS_ORIGINS", "*", "https:// origins"),
        ("HDR_CORS_ORIGINS", "https://*", "https:// origins"),
        ("HDR_CORS_ORIGINS", "https://app.example.com/", "https:// origins"),
        ("HDR_CORS_ORIGINS", "https://app.example.com, http://app.example.com", "https:// origins"),
        ("HDR_CORS_ORIGINS", "null", "https:// origins"),
        ("HDR_TENANT_CLAIM", "${x}", "the name of a claim"),
        ("HDR_LOG_RETENTION_DAYS", "31", "one of 1, 3, 5"),
        ("HDR_AUDIT_RETENTION_DAYS", "2190", "2192"),
        ("HDR_ACCOUNT_ID", "12345", "12 digits"),
        ("HDR_STATE_BUCKET", "My_Bucket", "a bucket name"),
        *(
            ("HDR_PROVIDER_VERSION", version, "an exact version of hashicorp/aws")
            for version in ("5.99.1", "7.0.0", "6.1", "~> 6.0", "6.1.0-beta1", "v6.1.0")
        ),
        ("HDR_EMULATOR_PORT", "80", "1024 to 65532"),
        ("HDR_API_ERROR_PERCENT", "nan", "above 0, at most 100 (percent)"),
        ("HDR_API_ERROR_PERCENT", "inf", "above 0, at most 100 (percent)"),
        ("HDR_LATENCY_P99_MS", "soon", "1 to 29000 (milliseconds)"),
        ("HDR_DNS_DELEGATED", "perhaps", "boolean"),
    ],
)
def test_invalid_value_names_variable_value_and_range(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"{variable}=")
    assert value.rsplit(",", 1)[-1].strip() in text
    assert allowed in text
    assert "\n" not in text


PAGER = "https://events.example.com/integration/KEY/enqueue?a=1&b=2"


@pytest.mark.requirement("R7.2")
@pytest.mark.parametrize("name", SECRET)
def test_endpoints_are_separated_by_commas_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert getattr(load_settings(), name) == ()
    monkeypatch.setenv(f"HDR_{name.upper()}", f"{PAGER}, https://hooks.example.org:65535/KEY2,")
    settings = load_settings()
    found = [address.get_secret_value() for address in getattr(settings, name)]
    assert found == [PAGER, "https://hooks.example.org:65535/KEY2"]
    assert "KEY" not in f"{settings}{settings!r}{settings.model_dump_json()}"


@pytest.mark.requirement("R7.2")
@pytest.mark.parametrize("name", SECRET)
@pytest.mark.parametrize(
    "value",
    [
        "http://events.example.com/KEY", "https://user:KEY@events.example.com/", "https://localhost/KEY", "KEY",
        "https://example.com:0/KEY", "https://example.com:65536/KEY", "https://example.com:99999/KEY",
        "https://127.0.0.1/KEY", "https://10.0.0.1/KEY", "https://[::1]/KEY", "https://example.com/KEY#part",
        "https://example.com/${KEY}", "https://example.com/%{KEY}", "https://example.com/KEY KEY",
        "https://example.com/KEY\x1b", "https://example.com/KEY\nx", f"https://example.com/{'KEY' * 200}",
        f"{PAGER},{PAGER}", ",".join(f"https://example.com/KEY/{number}" for number in range(6)),
    ],
)  # fmt: skip
def test_refused_endpoint_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"HDR_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"HDR_{name.upper()} is not allowed: it must be at most 5 different https:// addresses")
    assert "KEY" not in text
    assert caught.value.__cause__ is None


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().cors_origins == ()
    monkeypatch.setenv("HDR_CORS_ORIGINS", "https://app.example.com:8443, https://other.example.com,")
    assert load_settings().cors_origins == ("https://app.example.com:8443", "https://other.example.com")


@pytest.mark.parametrize(
    "issuer", ["https://dev-x.example-idp.com/", "https://idp.example.com/realms/a", "https://i.x"]
)
def test_issuer_is_not_changed(monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    monkeypatch.setenv("HDR_OIDC_ISSUER", issuer)
    assert load_settings().oidc_issuer == issuer


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"HDR_SECONDARY_REGION": "us-east-1"}, "must differ"),
        ({"HDR_PRIMARY_REGION": "eu-west-1"}, "must be us-east-1"),
        ({"HDR_SECONDARY_CIDR": "10.0.128.0/17"}, "overlap"),
        ({"HDR_PRIMARY_WEIGHT": "0", "HDR_SECONDARY_WEIGHT": "0"}, "must not both be 0"),
    ],
)
@pytest.mark.trap(22, 35)
def test_contradictory_values_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        load_settings()


@pytest.mark.requirement("R4.3", "D3")
@pytest.mark.parametrize(
    ("domain", "reserved"),
    [
        ("example.org", "example.org is reserved by RFC 2606"),
        ("dr.example.com", "example.com is reserved"),
        ("example.net", "example.net is reserved"),
        ("clinic.test", "test is reserved"),
        ("clinic.local", "local is reserved"),
        ("clinic.localhost", "localhost is reserved"),
        ("clinic.invalid", "invalid is reserved"),
        ("clinic.example", "example is reserved"),
        ("clinic.internal", "internal is reserved by ICANN"),
        ("clinic.onion", "onion is a special-use domain"),
        ("home.arpa", "arpa is a special-use domain"),
        ("clinic.alt", "alt is a special-use domain"),
        ("clinic.amazonaws.com", "amazonaws.com belongs to AWS"),
        ("clinic.on.aws", "aws belongs to AWS"),
    ],
)
def test_reserved_domain_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, domain: str, reserved: str
) -> None:
    monkeypatch.setenv("HDR_DOMAIN", domain)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"HDR_DOMAIN='{domain}' is not allowed: {reserved}")
    assert text.endswith("use a domain that you own, or a subdomain of it")
    assert "\n" not in text


@pytest.mark.requirement("R4.3")
def test_domain_is_that_of_the_operator_or_of_the_suffix() -> None:
    assert load_settings(environment_suffix="ci").names.domain == "healthcare-dr-ci.com"
    names = load_settings(environment_suffix="ci", domain="dr.clinic-one.org").names
    assert (names.domain, names.api_domain) == ("dr.clinic-one.org", "api.dr.clinic-one.org")
    assert names.records_table == "patient_records-ci"


@pytest.mark.parametrize(
    "domain",
    ["clinic-one.org", "a.b.c.clinic-one.org", "xn--klinik-mnchen-4ob.de", "1a.clinic.health", "myexample.org",
     "clinic.xn--p1ai", "a" * 56 + ".org"],
)  # fmt: skip
def test_domain_that_can_be_delegated_is_accepted(domain: str) -> None:
    assert load_settings(domain=domain).names.api_domain == f"api.{domain}"


@pytest.mark.parametrize("region", ["us-west-2", "eu-central-1", "ap-southeast-4", "mx-central-1"])
def test_regions_of_the_partition_are_accepted(region: str) -> None:
    assert load_settings(secondary_region=region).secondary_region == region


@pytest.mark.parametrize(
    ("name", "hint"), [("HDR_DNS_TLL", "did you mean HDR_DNS_TTL?"), ("HDR_FOO", "see .env.example")]
)
def test_unknown_variable_is_refused_with_a_hint(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "10")
    with pytest.raises(SettingsError, match=re.escape(f"{name} is not a setting; {hint}")):
        load_settings()


@pytest.mark.parametrize("name", ["ENVIRONMENT_SUFIX", "ENVIRONMENTSUFFIX", "ENVIRONMENT_SUFFFIX"])
@pytest.mark.parametrize("place", ["environment", "file"])
def test_misspelt_suffix_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, place: str) -> None:
    if place == "file":
        (tmp_path / ".env").write_text(f"{name}=prod\n")
    else:
        monkeypatch.setenv(name, "prod")
    with pytest.raises(SettingsError, match=rf"{name} is not a setting; did you mean ENVIRONMENT_SUFFIX\?"):
        load_settings()


def test_unrelated_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENVIRONMENT_PREFIX", "ENVIRONMENT", "SUFFIX"):
        monkeypatch.setenv(name, "x")
    load_settings()


def test_error_of_each_number_contains_its_range() -> None:
    for name, field in Settings.model_fields.items():
        if field.annotation in (int, float):
            with pytest.raises(SettingsError, match=r"it must be (\d+ to |above |one of |10 or 30)"):
                load_settings(**{name: -1})


def test_environment_takes_precedence_over_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HDR_DNS_TTL=20\nHDR_FAILURE_THRESHOLD=2\n")
    monkeypatch.setenv("HDR_DNS_TTL", "30")
    assert (load_settings().dns_ttl, load_settings().failure_threshold) == (30, 2)


def test_settings_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(load_settings(), "dns_ttl", 5)  # noqa: B010 - mypy would refuse the plain assignment, as it should


def test_example_documents_every_setting_with_its_default() -> None:
    documented = dotenv_values(ROOT / ".env.example")
    assert sorted(documented) == sorted(variable_names())
    (Path.cwd() / ".env").write_text((ROOT / ".env.example").read_text())
    assert load_settings() == Settings()


@pytest.mark.trap(37)
def test_state_is_kept_outside_us_east_1() -> None:
    assert load_settings().state_region == "us-west-2"
    swapped = load_settings(primary_region="us-west-2", secondary_region="us-east-1")
    assert swapped.state_region == "us-west-2"


@given(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True))
def test_every_allowed_suffix_is_accepted(suffix: str) -> None:
    assert load_settings(environment_suffix=suffix).environment_suffix == suffix


@pytest.mark.parametrize("character", ["\n", "\r", "\x1b", "\x7f", "\x9b", "\u2028"])
@pytest.mark.parametrize("name", ["HDR_HOME", "HDR_TERRAFORM", "HDR_PROVIDER_MIRROR", "HDR_OIDC_AUDIENCE"])
def test_control_characters_are_refused_and_escaped(monkeypatch: pytest.MonkeyPatch, name: str, character: str) -> None:
    monkeypatch.setenv(name, f"a{character}b")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}={f'a{character}b'!r} is not allowed: it must contain no control characters"
    assert character not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"HDR_OIDC_AUDIENCE=caf\xe9\n", r"\.env cannot be read: .*must be a file in UTF-8"),
        (b"HDR_HOME=a\0b\n", "must contain no control characters"),
        (b"HDR_DNS_TTL=20\nfoo bar = 'x\n", r"\.env cannot be read from line 2 on: write one NAME=value"),
        (b'HDR_DNS_TTL=20\nHDR_LOG_LEVEL="DEBUG\n', r"\.env cannot be read from line 2 on: write one NAME=value"),
    ],
    ids=["not UTF-8", "null byte", "no assignment", "open quote"],
)
def test_invalid_file_prints_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_special_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".env")
    with pytest.raises(SettingsError, match=r"\.env cannot be read: it must be a file"):
        load_settings()
