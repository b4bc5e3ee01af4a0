"""The names of all resources, derived from the environment suffix, and from the operator's domain if there is one.

The convention is `healthcare-dr-<resource>[-<region>]-<suffix>`. A name contains the region where the service is global
(IAM, S3, dashboards) or where operators see both regions side by side. Names are deterministic, so a stack, a command
or a test can address a resource of another stack without its outputs.
"""

import re
from dataclasses import dataclass

PREFIX = "healthcare-dr"
DEFAULT_SUFFIX = "dev"
SUFFIX_VARIABLE = "ENVIRONMENT_SUFFIX"

DEFAULT_TARGET = "embedded"
# A command in backticks in a message, and its target if it has one.
COMMAND = re.compile(r"`hdr (?P<command>[a-z][^`]*?(?P<target> --target [^`]*)?)`")
# The commands that have a target.
TARGETED = re.compile(
    r"(?:plan|deploy|destroy|pipeline|status|outputs|verify|notify|drain|restore|conflicts|seed|drill(?! schema| list))"
    r"\b.*"
)

# In the order in which they are applied. The first two are independent of each other.
PRIMARY, SECONDARY, GLOBAL = STACKS = (f"{PREFIX}-primary", f"{PREFIX}-secondary", f"{PREFIX}-global")
# Optional, and applied on its own: the roles of a deployment pipeline.
PIPELINE = f"{PREFIX}-pipeline"


@dataclass(frozen=True)
class Names:
    """The names of one environment. `Settings.names` returns those of the settings.

    `own_domain` is a domain or subdomain of the operator (`HDR_DOMAIN`); None for the default.
    """

    suffix: str
    own_domain: str | None = None

    def of(self, resource: str, region: str | None = None) -> str:
        """Return `healthcare-dr-<resource>[-<region>]-<suffix>`."""
        return "-".join(part for part in (PREFIX, resource, region, self.suffix) if part)

    def of_pipeline(self, resource: str) -> str:
        """Return the name of a role or policy of the deployment pipeline, which the pipeline itself may not change."""
        return f"{PIPELINE}-{resource}-{self.suffix}"

    @property
    def domain(self) -> str:
        """The hosted zone."""
        return self.own_domain or f"{PREFIX}-{self.suffix}.com"

    @property
    def api_domain(self) -> str:
        """The shared name of both regions, which clients use."""
        return f"api.{self.domain}"

    @property
    def records_table(self) -> str:
        """The global table of patient records."""
        return f"patient_records-{self.suffix}"

    @property
    def audit_table(self) -> str:
        """The global table of the audit trail."""
        return f"audit_logs-{self.suffix}"

    def documents_bucket(self, account: str, region: str) -> str:
        """Return the name of a region's document bucket: unique by its account, at most 63 characters."""
        return f"hdr-documents-{account}-{region}-{self.suffix}"

    def trail_bucket(self, account: str, region: str) -> str:
        """Return the name of the bucket of a region's data events."""
        return f"hdr-trail-{account}-{region}-{self.suffix}"

    def key_alias(self) -> str:
        """Return the alias of a region's customer managed key."""
        return f"alias/{self.of('data')}"

    def index_key_alias(self) -> str:
        """Return the alias of the key from which both regions derive their secrets for search and cursors."""
        return f"alias/{self.of('index')}"

    def lambda_log_group(self, function: str) -> str:
        """Return the log group to which Lambda writes; its name ends with the function's name."""
        return f"/aws/lambda/{function}"

    def log_group(self, resource: str) -> str:
        """Return the name of any other log group."""
        return f"/{PREFIX}/{resource}-{self.suffix}"


def addressed(text: str, suffix: str, target: str) -> str:
    """Add environment and target to the commands in a text, so that operators can copy them into any shell."""

    def address(found: re.Match[str]) -> str:
        environment = "" if suffix == DEFAULT_SUFFIX else f"{SUFFIX_VARIABLE}={suffix} "
        named = target == DEFAULT_TARGET or found["target"] is not None or not TARGETED.fullmatch(found["command"])
        return f"`{environment}hdr {found['command']}{'' if named else f' --target {target}'}`"

    return COMMAND.sub(address, text)
