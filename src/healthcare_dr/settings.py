"""The platform's settings: read once from the environment and `.env`, validated, immutable.

`ENVIRONMENT_SUFFIX` is the suffix of every name; all other variables begin with `HDR_`. `.env.example` documents each
setting with its default.
"""

import difflib
import json
import os
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from ipaddress import IPv4Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from healthcare_dr.errors import SettingsError
from healthcare_dr.naming import DEFAULT_SUFFIX, SUFFIX_VARIABLE, Names
from patient_api.contract.functions import CLOCK_BOUND_SECONDS

# The periods CloudWatch Logs accepts, in days (PutRetentionPolicy).
LOG_RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
SIX_YEARS_IN_DAYS = 2192
# The request intervals Route 53 offers, in seconds.
HEALTH_CHECK_INTERVALS = (10, 30)
SUPPORTED = {
    "health_check_interval": HEALTH_CHECK_INTERVALS,
    "log_retention_days": LOG_RETENTION_DAYS,
    "audit_retention_days": LOG_RETENTION_DAYS,
}
# Settings whose values no message contains.
SECRET = ("operations_endpoints", "operations_webhooks")

# Characters that begin a new line or control a terminal.
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# The beginning of an expression of Terraform, which strings of its JSON may contain.
TEMPLATE = re.compile(r"[$%]\{")
# The highest process id on Linux (PID_MAX_LIMIT); other systems have lower ones.
HIGHEST_PROCESS_ID = 4_194_304

# Route 53 publishes the metrics of health checks in this region only.
ROUTE53_METRICS_REGION = "us-east-1"
# Accounts, roles and replication do not cross the boundary of a partition.
PARTITION = "aws"

# The first name of a certificate has at most 64 characters (acm:RequestCertificate); here it is `api.<domain>`.
LONGEST_DOMAIN = 60
# Names that no registrar delegates, or that belong to AWS, each with its reason.
RESERVED_DOMAINS = (
    dict.fromkeys(
        ("example", "example.com", "example.net", "example.org", "invalid", "local", "localhost", "test"),
        "is reserved by RFC 2606, RFC 6761 or RFC 6762",
    )
    | dict.fromkeys(("arpa", "alt", "onion"), "is a special-use domain of IANA")
    | {"internal": "is reserved by ICANN for private networks"}
    | dict.fromkeys(("amazonaws.com", "aws"), "belongs to AWS")
)

Region = Annotated[str, StringConstraints(pattern=r"^[a-z]{2}(-[a-z]+){1,2}-\d$")]
Suffix = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?$")]
# Labels of letters, digits and inner hyphens; the last is no number, which would be an address.
Domain = Annotated[
    str,
    StringConstraints(
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$", max_length=LONGEST_DOMAIN
    ),
]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s,]+@[^@\s,]+\.[^@\s,]+$", max_length=254)]
# An origin as browsers send it: without a path.
Origin = Annotated[str, StringConstraints(pattern=r"^https://[a-z0-9.-]+(:\d{1,5})?$", max_length=253)]
# With Auth0, the names of custom claims are URLs.
Claim = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~:/@|#-]{1,200}$")]
Audience = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,256}$")]
Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
# As in the subject of GitHub's tokens: with the ids of owner and repository where its subject claims are immutable.
GithubRepository = Annotated[
    str,
    StringConstraints(
        pattern=r"^[A-Za-z0-9-]{1,39}/[A-Za-z0-9._-]{1,100}$|^[A-Za-z0-9-]{1,39}@\d+/[A-Za-z0-9._-]{1,100}@\d+$"
    ),
]
GithubName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
AccountId = Annotated[str, StringConstraints(pattern=r"^\d{12}$")]

# The versions of hashicorp/aws that the stacks accept: the first one, and the first one that is too new.
PROVIDER_VERSIONS = ((5, 100, 0), (7, 0, 0))


def _check_provider_version(value: str) -> str:
    first, end = PROVIDER_VERSIONS
    if not first <= tuple(map(int, value.split("."))) < end:
        raise ValueError("not a version that the stacks accept")
    return value


ProviderVersion = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,4}(\.[0-9]{1,4}){2}$"), AfterValidator(_check_provider_version)
]

MOST_ENDPOINTS = 5
LONGEST_ENDPOINT = 500
# SNS delivers to public names only. A comma separates addresses.
ENDPOINT = re.compile(
    r"https://(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9](?::\d{1,5})?"
    r"(?:[/?][A-Za-z0-9._~:/?@!$&'()*+;=%-]*)?",
    re.IGNORECASE,
)


def _check_endpoint(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    # `port` raises ValueError above 65535.
    if len(text) > LONGEST_ENDPOINT or not ENDPOINT.fullmatch(text) or urlsplit(text).port == 0:
        raise ValueError("not a public https address")
    return value


Endpoint = Annotated[SecretStr, AfterValidator(_check_endpoint)]

# Only `hdr seed` and `hdr drill` read it: a token is not a setting.
TOKEN_VARIABLE = "HDR_TOKEN"  # noqa: S105 - the variable's name
ENDPOINTS_ALLOWED = (
    f"at most {MOST_ENDPOINTS} different https:// addresses with a public host name, of at most {LONGEST_ENDPOINT} "
    "characters each, without user information and fragment, separated by commas"
)
ALLOWED = {
    "home": "a folder, or a path where a folder can be created",
    "environment_suffix": "1 to 20 characters of a-z, 0-9 and -, not beginning or ending with -",
    "primary_region": f"an AWS region such as us-east-1, of the partition {PARTITION}, not of China or GovCloud",
    "secondary_region": f"an AWS region such as us-west-2, of the partition {PARTITION}, not of China or GovCloud",
    "primary_cidr": "an IPv4 network from /16 to /20, such as 10.0.0.0/16",
    "secondary_cidr": "an IPv4 network from /16 to /20, such as 10.1.0.0/16",
    "domain": f"a domain or subdomain of two or more labels of a-z, 0-9 and inner hyphens (1 to 63 characters each, "
    f"{LONGEST_DOMAIN} in total, as api.<domain> has to fit into a certificate), in lower case, without a final dot, "
    "and with xn-- for other scripts",
    "health_check_interval": f"{' or '.join(map(str, HEALTH_CHECK_INTERVALS))} (seconds)",
    "operations_emails": "e-mail addresses, separated by commas",
    "operations_endpoints": ENDPOINTS_ALLOWED,
    "operations_webhooks": ENDPOINTS_ALLOWED,
    "oidc_issuer": "an https:// address without query, written exactly as in the tokens' iss",
    "oidc_audience": "1 to 256 printable ASCII characters without a space, and without ${ or %{",
    "tenant_claim": "the name of a claim: 1 to 200 characters of A-Z, a-z, 0-9 and . _ ~ : / @ | # -",
    "cors_origins": "https:// origins without a path, such as https://app.example.com, separated by commas",
    "state_bucket": "a bucket name of 3 to 63 characters of a-z, 0-9, . and -",
    "account_id": "12 digits",
    "github_repository": "owner/name, or owner@id/name@id where GitHub's subject claims are immutable",
    "github_environment": "the name of an environment: 1 to 100 characters of A-Z, a-z, 0-9 and . _ -",
    "github_branch": "the name of a branch: 1 to 100 characters of A-Z, a-z, 0-9 and . _ -",
    "emulator_ends_with": "the id of a process",
    "provider_version": "an exact version of hashicorp/aws from 5.100.0 up to, not including, 7.0.0",
    "log_level": "DEBUG, INFO, WARNING or ERROR",
    "log_retention_days": f"one of {', '.join(map(str, LOG_RETENTION_DAYS))} (days)",
    "audit_retention_days": f"one of {', '.join(map(str, LOG_RETENTION_DAYS))} (days)",
}


class Settings(BaseSettings):
    """The settings of a deployment. Units are in the names or the descriptions."""

    model_config = SettingsConfigDict(
        env_prefix="HDR_",
        env_file=".env",
        env_file_encoding="utf-8",
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
    )

    environment_suffix: Suffix = Field(DEFAULT_SUFFIX, validation_alias=SUFFIX_VARIABLE)

    primary_region: Region = "us-east-1"
    secondary_region: Region = "us-west-2"
    primary_cidr: IPv4Network = IPv4Network("10.0.0.0/16")
    secondary_cidr: IPv4Network = IPv4Network("10.1.0.0/16")

    primary_weight: int = Field(70, ge=0, le=255, description="share of the answers")
    secondary_weight: int = Field(30, ge=0, le=255, description="share of the answers")
    dns_ttl: int = Field(10, ge=1, le=60, description="seconds")
    domain: Domain | None = Field(None, description="None: the domain that the suffix gives")
    dns_delegated: bool = False
    health_check_interval: int = Field(10, description="seconds")
    failure_threshold: int = Field(3, ge=1, le=10, description="consecutive checks")

    oidc_issuer: str = Field("", description="empty: the routes require IAM signatures")
    oidc_audience: Audience = "healthcare-dr"
    tenant_claim: Claim = "tenant"
    cors_origins: Annotated[tuple[Origin, ...], NoDecode] = Field((), description="empty: no browser application")

    operations_emails: Annotated[tuple[Email, ...], NoDecode] = ()
    operations_endpoints: Annotated[tuple[Endpoint, ...], NoDecode] = Field((), max_length=MOST_ENDPOINTS)
    operations_webhooks: Annotated[tuple[Endpoint, ...], NoDecode] = Field((), max_length=MOST_ENDPOINTS)
    replication_lag_seconds: int = Field(60, ge=1, le=900, description="seconds")
    clock_bound_seconds: int = Field(
        CLOCK_BOUND_SECONDS,
        ge=1,
        le=20,
        description="by which the clock of a function that writes versions may differ from DynamoDB's",
    )
    latency_p99_ms: int = Field(2000, ge=1, le=29000, description="milliseconds")
    api_error_percent: float = Field(5.0, gt=0, le=100, description="percent")
    throttle_rate: int = Field(1000, ge=1, le=10000, description="requests a second")
    throttle_burst: int = Field(500, ge=1, le=5000, description="requests")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_retention_days: int = 30
    audit_retention_days: int = SIX_YEARS_IN_DAYS
    fault_injection: bool = Field(False, description="FIS templates that pause replication and disconnect a region")

    account_id: AccountId | None = None
    state_bucket: Bucket | None = None

    github_repository: GithubRepository | None = Field(None, description="None: no roles of a pipeline, no boundary")
    github_environment: GithubName = "production"
    github_branch: GithubName = "main"
    github_provider_exists: bool = Field(False, description="whether the account already trusts GitHub's tokens")

    home: Path = Path(".hdr")
    emulator_port: int = Field(4566, ge=1024, le=65532, description="the next three ports are used too")
    emulator_ends_with: int | None = Field(None, ge=1, le=HIGHEST_PROCESS_ID, description="the id of a process")
    terraform: Path | None = None
    terraform_base_url: str = "https://releases.hashicorp.com/terraform"
    provider_mirror: Path | None = None
    provider_version: ProviderVersion | None = Field(None, description="None: the newest that the stacks accept")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read arguments first, then the environment, then `.env`, and no secrets directory."""
        del settings_cls, file_secret_settings
        return init_settings, env_settings, dotenv_settings

    @field_validator("*", mode="before")
    @classmethod
    def _without_control_characters(cls, value: object) -> object:
        if isinstance(value, str) and CONTROLS.search(value):
            raise ValueError("contains a control character")
        return value

    @field_validator("oidc_issuer", "oidc_audience", "operations_emails")
    @classmethod
    def _without_expression(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if any(map(TEMPLATE.search, (value,) if isinstance(value, str) else value)):
            raise ValueError("contains an expression of Terraform")
        return value

    @field_validator(*SECRET)
    @classmethod
    def _different(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if len({each.get_secret_value() for each in value}) < len(value):
            raise ValueError("contains an address twice")
        return value

    @field_validator("operations_emails", "cors_origins", *SECRET, mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("domain")
    @classmethod
    def _encoded_labels(cls, value: str | None) -> str | None:
        for label in value.split(".") if value else ():
            if label[2:4] == "--":
                _check_encoded(label)
        return value

    @field_validator("primary_region", "secondary_region")
    @classmethod
    def _region_of_the_partition(cls, value: str) -> str:
        if value not in known_regions():
            raise ValueError("not a region of the partition aws")
        return value

    @field_validator("primary_cidr", "secondary_cidr")
    @classmethod
    def _network_size(cls, value: IPv4Network) -> IPv4Network:
        if not 16 <= value.prefixlen <= 20:
            raise ValueError("a size that AWS does not allow, or too small for six subnets")
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _https_issuer(cls, value: str) -> str:
        if value and not re.fullmatch(r"https://[^\s?#/][^\s?#]*", value):
            raise ValueError("not an issuer")
        return value

    @field_validator(*SUPPORTED)
    @classmethod
    def _supported(cls, value: int, info: ValidationInfo) -> int:
        if value not in SUPPORTED[str(info.field_name)]:
            raise ValueError("not a value that AWS supports")
        return value

    @field_validator("home")
    @classmethod
    def _usable_home(cls, value: Path) -> Path:
        path = value.absolute()
        found = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
        if not found.is_dir():
            raise ValueError(f"{found} is not a folder")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.primary_region == self.secondary_region:
            raise ValueError("HDR_PRIMARY_REGION and HDR_SECONDARY_REGION must differ")
        if ROUTE53_METRICS_REGION not in self.regions:
            raise ValueError(
                f"one of HDR_PRIMARY_REGION and HDR_SECONDARY_REGION must be {ROUTE53_METRICS_REGION}: Route 53 "
                "publishes its health check metrics in no other region"
            )
        for reserved, reason in RESERVED_DOMAINS.items():
            if f".{self.domain}".endswith(f".{reserved}"):
                raise ValueError(
                    f"HDR_DOMAIN={self.domain!r} is not allowed: {reserved} {reason}, so it can never be delegated to "
                    "the platform; use a domain that you own, or a subdomain of it"
                )
        if self.primary_cidr.overlaps(self.secondary_cidr):
            raise ValueError(
                f"HDR_PRIMARY_CIDR={self.primary_cidr} and HDR_SECONDARY_CIDR={self.secondary_cidr} overlap: "
                "VPC peering refuses overlapping networks, so give each region its own"
            )
        if self.primary_weight + self.secondary_weight == 0:
            raise ValueError("HDR_PRIMARY_WEIGHT and HDR_SECONDARY_WEIGHT must not both be 0")
        return self

    @property
    def regions(self) -> tuple[str, str]:
        """The primary, then the secondary region."""
        return self.primary_region, self.secondary_region

    @property
    def names(self) -> Names:
        """The names of the environment's resources."""
        return Names(self.environment_suffix, self.domain)

    @property
    def state_region(self) -> str:
        """Return the region of the state bucket: never the region whose loss the state has to survive (trap 37)."""
        return self.secondary_region if self.primary_region == "us-east-1" else self.primary_region


def load_settings(**overrides: Any) -> Settings:
    """Read and validate the settings.

    Keyword arguments override environment and `.env` by field name (`environment_suffix="ci"`).

    Raises:
        SettingsError: a variable is invalid or unknown, or `.env` cannot be read. The message contains the variable,
            its value and the allowed values.
    """
    _check_readable(Path(".env"))
    _check_names({**dotenv_values(".env", encoding="utf-8"), **os.environ})
    if "environment_suffix" in overrides:
        overrides[SUFFIX_VARIABLE] = overrides.pop("environment_suffix")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(problem) for problem in error.errors())) from None


@cache
def known_regions() -> frozenset[str]:
    """Return the regions of the partition `aws` from botocore's list, without the slow import of botocore."""
    found = find_spec("botocore")
    if found is None or found.origin is None:
        raise SettingsError("botocore is not installed: install the requirements with `make setup`")
    listed = json.loads((Path(found.origin).parent / "data" / "partitions.json").read_text(encoding="utf-8"))
    (regions,) = (partition["regions"] for partition in listed["partitions"] if partition["id"] == PARTITION)
    return frozenset(regions)


def variable_names() -> tuple[str, ...]:
    """Return every environment variable of the settings, in the order of the fields."""
    return tuple(
        str(field.validation_alias) if field.validation_alias else f"HDR_{name.upper()}"
        for name, field in Settings.model_fields.items()
    )


def _check_encoded(label: str) -> None:
    """Raise ValueError unless a label with hyphens in its third and fourth place is punycode (RFC 5891)."""
    if not label.startswith("xn--") or label.encode().decode("idna").encode("idna").decode() != label:
        raise ValueError("not punycode")


def _check_readable(file: Path) -> None:
    """Refuse lines that python-dotenv would ignore, and files that it would wait for, such as a pipe."""
    try:
        if not os.path.lexists(file):
            return
        if not file.is_file():
            raise SettingsError(f"{file} cannot be read: it must be a file in UTF-8")
        with file.open(encoding="utf-8") as stream:
            wrong = next((found.original.line for found in parse_stream(stream) if found.error), None)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}; it must be a file in UTF-8") from error
    if wrong is not None:
        raise SettingsError(
            f"{file} cannot be read from line {wrong} on: write one NAME=value in each line and close quotes"
        )


def _check_names(environment: Mapping[str, str | None]) -> None:
    known = (*variable_names(), TOKEN_VARIABLE)
    for name in sorted(environment):
        if name.upper() in known:
            continue
        if difflib.get_close_matches(name.upper(), [SUFFIX_VARIABLE], cutoff=0.9):
            raise SettingsError(f"{name} is not a setting; did you mean {SUFFIX_VARIABLE}?")
        if name.upper().startswith("HDR_"):
            near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            hint = f"; did you mean {near[0]}?" if near else "; see .env.example for the settings"
            raise SettingsError(f"{name} is not a setting{hint}")


def _explain(problem: Mapping[str, Any]) -> str:
    location = [str(part) for part in problem["loc"]]
    if not location:
        return str(problem["msg"]).removeprefix("Value error, ")
    field = "environment_suffix" if location[0] == SUFFIX_VARIABLE else location[0].lower()
    name = SUFFIX_VARIABLE if field == "environment_suffix" else f"HDR_{field.upper()}"
    if field in SECRET:
        return f"{name} is not allowed: it must be {ALLOWED[field]}"
    if isinstance(problem["input"], str) and CONTROLS.search(problem["input"]):
        return f"{name}={problem['input']!r} is not allowed: it must contain no control characters"
    allowed = ALLOWED.get(field) or _range(field) or str(problem["msg"]).removeprefix("Input should be ")
    return f"{name}={str(problem['input'])!r} is not allowed: it must be {allowed}"


def _range(field: str) -> str | None:
    """Return the range of a number with its unit, None for a field without bounds."""
    described = Settings.model_fields[field]
    bounds = {
        name: getattr(rule, name) for rule in described.metadata for name in ("ge", "gt", "le") if hasattr(rule, name)
    }
    if "le" not in bounds:
        return None
    span = f"{bounds['ge']} to {bounds['le']}" if "ge" in bounds else f"above {bounds['gt']}, at most {bounds['le']}"
    return f"{span} ({described.description})" if described.description else span
