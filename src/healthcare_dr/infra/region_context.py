"""One region of the platform: its role, settings, names and ARNs."""

from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Literal

from cdktn import TerraformProvider, TerraformStack

from healthcare_dr.naming import Names
from healthcare_dr.settings import Settings

Role = Literal["primary", "secondary"]


@dataclass(frozen=True, kw_only=True)
class RegionContext:
    """A region with its role and account, and the stack and provider that manage its resources.

    `account` is a token that resolves to the account id when Terraform plans, so that the synthesized JSON does not
    depend on the account.
    """

    stack: TerraformStack
    settings: Settings
    role: Role
    account: str
    provider: TerraformProvider

    @property
    def names(self) -> Names:
        """The names of the environment."""
        return self.settings.names

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
        records, audit = self.names.records_table, self.names.audit_table
        return self.regional_arn("dynamodb", f"table/{records}"), self.regional_arn("dynamodb", f"table/{audit}")

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
        """Return the ARN of a function of this region without a version."""
        return self.regional_arn("lambda", f"function:{self.names.of(resource)}")

    def regional_arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource of this region and account."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"

    def role_arn(self, resource: str, region: str) -> str:
        """Return the ARN of a role. IAM is global, so the region is in the role's name."""
        return f"arn:aws:iam::{self.account}:role/{self.names.of(resource, region)}"


Sites = tuple[RegionContext, RegionContext]
"""The primary and the secondary region."""
