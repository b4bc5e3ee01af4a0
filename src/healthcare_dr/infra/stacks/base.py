"""What every stack has: providers with the tags of the platform, the account, a backend, and outputs."""

from cdktn import LocalBackend, S3Backend, TerraformOutput, TerraformStack
from cdktn_provider_aws.data_aws_caller_identity import DataAwsCallerIdentity
from cdktn_provider_aws.provider import AwsProvider, AwsProviderDefaultTags
from constructs import Construct

from healthcare_dr.settings import Settings

DEFAULT_TAGS = {"Environment": "Production", "DisasterRecovery": "Enabled"}
PROVIDER_VERSIONS = ">= 5.100, < 7.0"


class PlatformStack(TerraformStack):
    """A stack of the platform, applied by itself and owning its own state."""

    def __init__(self, scope: Construct, name: str, settings: Settings) -> None:
        super().__init__(scope, name)
        self._settings = settings
        self.add_override("terraform.required_providers.aws.version", PROVIDER_VERSIONS)
        self.add_override("terraform.required_version", ">= 1.10")
        self._keep_state(name)

    def _keep_state(self, name: str) -> None:
        bucket = self._settings.state_bucket
        if bucket is None:
            LocalBackend(self, path="terraform.tfstate")
            return
        # Never in the region whose loss the state has to survive (trap 37).
        S3Backend(
            self,
            bucket=bucket,
            key=f"{self._settings.environment_suffix}/{name}.tfstate",
            region=self._settings.state_region,
            encrypt=True,
            use_lockfile=True,
        )

    def _provider(self, identifier: str, region: str, *, alias: str | None = None) -> AwsProvider:
        return AwsProvider(
            self,
            identifier,
            region=region,
            alias=alias,
            default_tags=[AwsProviderDefaultTags(tags=DEFAULT_TAGS)],
        )

    def _account(self, provider: AwsProvider) -> str:
        return DataAwsCallerIdentity(self, "account", provider=provider).account_id

    def _outputs(self, values: dict[str, str]) -> None:
        for name, value in values.items():
            output = TerraformOutput(self, f"output_{name}", value=value)
            output.override_logical_id(name)
