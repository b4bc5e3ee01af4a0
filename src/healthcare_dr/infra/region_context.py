"""One region of the platform, as the description of its resources sees it."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

from cdktn import TerraformProvider

from healthcare_dr.naming import Names
from healthcare_dr.settings import Settings

Role = Literal["primary", "secondary"]


@dataclass(frozen=True, kw_only=True)
class RegionContext:
    """A region with its role, its account and the provider that manages it.

    `account` is a token that resolves to the twelve digits of the account at plan time: the synthesized bytes hold
    nothing of the target.
    """

    settings: Settings
    role: Role
    account: str
    provider: TerraformProvider

    @property
    def names(self) -> Names:
        """The names of the environment."""
        return Names(self.settings.environment_suffix)

    @property
    def region(self) -> str:
        """This region."""
        return self.settings.regions[0 if self.role == "primary" else 1]

    @property
    def peer_region(self) -> str:
        """The other region."""
        return self.settings.regions[1 if self.role == "primary" else 0]

    @property
    def cidr(self) -> IPv4Network:
        """The network of this region's VPC."""
        return self.settings.primary_cidr if self.role == "primary" else self.settings.secondary_cidr

    @property
    def peer_cidr(self) -> IPv4Network:
        """The network of the other region's VPC."""
        return self.settings.secondary_cidr if self.role == "primary" else self.settings.primary_cidr

    @property
    def weight(self) -> int:
        """This region's share of DNS answers."""
        return self.settings.primary_weight if self.role == "primary" else self.settings.secondary_weight

    @property
    def documents_bucket(self) -> str:
        """The name of this region's document bucket."""
        return self.names.documents_bucket(self.account, self.region)

    @property
    def peer_documents_bucket(self) -> str:
        """The name of the other region's document bucket."""
        return self.names.documents_bucket(self.account, self.peer_region)

    @property
    def documents_arn(self) -> str:
        """The ARN of this region's document bucket."""
        return f"arn:aws:s3:::{self.documents_bucket}"

    @property
    def trail_bucket(self) -> str:
        """The name of the bucket that keeps this region's data events."""
        return self.names.trail_bucket(self.account, self.region)

    @property
    def table_arns(self) -> tuple[str, str]:
        """The ARNs of this region's replicas of the records and the audit table."""
        return self.regional_arn("dynamodb", f"table/{self.names.records_table}"), self.regional_arn(
            "dynamodb", f"table/{self.names.audit_table}"
        )

    @property
    def stream_arns(self) -> tuple[str, str]:
        """The ARNs of the streams of this region's replicas of the records and the audit table, as patterns."""
        records, audit = self.table_arns
        return f"{records}/stream/*", f"{audit}/stream/*"

    @property
    def topic_arn(self) -> str:
        """The ARN of this region's topic for operations."""
        return self.regional_arn("sns", self.names.of("operations"))

    def function_arn(self, resource: str) -> str:
        """The ARN of a function of this region, not of one of its versions."""
        return self.regional_arn("lambda", f"function:{self.names.of(resource)}")

    def regional_arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of this region and account."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def role_arn(self, resource: str, region: str) -> str:
        """The ARN of a role of the platform; IAM is global, so the region is in the role's name."""
        return f"arn:aws:iam::{self.account}:role/{self.names.of(resource, region)}"
