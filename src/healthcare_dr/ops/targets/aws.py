"""AWS as a deployment target, with the checks before it is changed."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PIPELINE, STACKS
from healthcare_dr.ops.capacity import CONCURRENCY_QUOTA, needed_concurrency
from healthcare_dr.ops.notifications import revealed, terraform_variables
from healthcare_dr.ops.terraform.events import CREDENTIALS_FIX
from healthcare_dr.ops.terraform.state import read_states
from healthcare_dr.ops.terraform.workspace import read_local
from healthcare_dr.settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

# Variables that change what Terraform does (`TF_CLI_ARGS`, `TF_DATA_DIR`, `TF_LOG`, `TF_VAR_…`). Credentials of its
# registry are kept.
TERRAFORM_VARIABLES = re.compile(r"TF_(?!TOKEN_|REGISTRY_).*")
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
SERVER_FAULT = 500
UNKNOWN = ("InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidAccessKeyId")

ClientFactory = Callable[[str, str], Any]


def boto3_client(service: str, region: str) -> Any:
    """Return a client with the user's credentials, few retries and short timeouts."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
    return boto3.Session(region_name=region).client(service, config=config)


@dataclass(frozen=True, kw_only=True)
class AwsTarget:
    """The account of the user's credentials."""

    settings: Settings
    root: Path
    user_environment: Mapping[str, str]
    clients: ClientFactory = boto3_client
    name: str = "aws"

    def preflight(self) -> None:
        """Check that this is AWS, the right account, and a state bucket that survives a lost region.

        Raises:
            DeploymentError: one of them is not so.
        """
        redirected = sorted(name for name in self.user_environment if name.startswith("AWS_ENDPOINT_URL"))
        if redirected:
            raise DeploymentError(
                f"{redirected[0]} is set, so this would not be AWS: unset it, or use --target embedded"
            )
        self._demand_account(self._account())
        if self.settings.state_bucket is not None:
            self._demand_state_bucket(self.settings.state_bucket)

    def check_quotas(self, *, required: bool) -> list[str]:
        """Return warnings about Lambda's concurrency, of which each region needs enough for the load of both.

        A region that does not respond is an error, because a deployment changes both. Without the permission
        `lambda:GetAccountSettings` the quota is unknown, which is a warning. The memory limit of new accounts is in no
        response of AWS: `ops.terraform.events` explains the error of a function that exceeds it.

        Raises:
            DeploymentError: a region does not respond, or `required` and less than the sustained load.
        """
        settings = self.settings
        needed = needed_concurrency(settings.throttle_rate, settings.throttle_burst)
        warnings, allowed = [], {}
        for region in settings.regions:
            found = self._concurrency(region, needed.burst)
            if isinstance(found, str):
                warnings.append(found)
            else:
                allowed[region] = found
        request = (
            f"request Lambda's quota `Concurrent executions` ({CONCURRENCY_QUOTA}) in both regions, in Service Quotas"
        )
        for region, number in allowed.items():
            if number < needed.sustained:
                problem = (
                    f"{region} allows {number} concurrent executions of Lambda, but HDR_THROTTLE_RATE="
                    f"{settings.throttle_rate} needs {needed.sustained}; with less, health checks are refused under "
                    f"load and both regions become unhealthy: {request}, or lower HDR_THROTTLE_RATE"
                )
                if required:
                    raise DeploymentError(problem)
                warnings.append(problem)
            elif number < needed.burst:
                warnings.append(
                    f"{region} allows {number} concurrent executions of Lambda, but HDR_THROTTLE_BURST="
                    f"{settings.throttle_burst} needs {needed.burst}: Lambda refuses a part of a burst, or of the "
                    f"confirmations of documents, which take up to 25 s: {request}, or lower HDR_THROTTLE_BURST"
                )
        if len(set(allowed.values())) > 1:
            numbers = ", but ".join(f"{region} allows {number}" for region, number in allowed.items())
            warnings.append(
                f"{numbers} concurrent executions of Lambda, although each may have to carry both: {request}"
            )
        return warnings

    def remember(self) -> None:
        """Record the account beside a local state, where only the suffix distinguishes environments."""
        if self.settings.state_bucket is None:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._owner.write_text(f"{self._account()}\n", encoding="ascii")

    def child_environment(self) -> dict[str, str]:
        """Return the user's environment, without variables that change what Terraform does, and the secret settings."""
        kept = {name: value for name, value in self.user_environment.items() if not TERRAFORM_VARIABLES.fullmatch(name)}
        return kept | terraform_variables(endpoints=self.operations_endpoints(), webhooks=self.operations_webhooks())

    def override(self, stack: str) -> Mapping[str, Any]:
        """Return the state bucket, in a region that survives the loss of us-east-1, or a local state.

        With the setting, it also contains the exact version of the provider.
        """
        backend: dict[str, Any] = {"local": {"path": f"../state/{stack}.tfstate"}}
        if self.settings.state_bucket is not None:
            backend = {
                "s3": {
                    "bucket": self.settings.state_bucket,
                    "key": self._state_key(stack),
                    "region": self.settings.state_region,
                    "encrypt": True,
                    "use_lockfile": True,
                }
            }
        if self.settings.provider_version is None:
            return {"terraform": {"backend": backend}}
        pinned = {"aws": {"version": self.settings.provider_version}}
        return {"terraform": {"backend": backend, "required_providers": pinned}}

    def read_state(self, stack: str) -> bytes | None:
        """Return the state from the bucket, or the local state."""
        bucket = self.settings.state_bucket
        if bucket is None:
            return read_local(self.root, stack)
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self.client("s3", self.settings.state_region).get_object(Bucket=bucket, Key=self._state_key(stack))
        except ClientError as error:
            if _code(error) in ("NoSuchKey", "404"):
                return None
            raise DeploymentError(f"the state in {bucket} cannot be read: {error}") from error
        except BotoCoreError as error:
            raise DeploymentError(f"the state in {bucket} cannot be read: {error}") from error
        return bytes(answer["Body"].read())

    def client(self, service: str, region: str) -> Any:
        """Return a boto3 client with the user's credentials.

        Raises:
            DeploymentError: a variable or an entry of the profile is invalid.
        """
        try:
            return self.clients(service, region)
        except ValueError as error:
            raise DeploymentError(
                f"an AWS_* variable or an entry of the AWS profile is wrong: {error}; correct it or leave it out"
            ) from error

    def api_url(self, outputs: Mapping[str, Any]) -> str:
        """Return the API's own endpoint in its region."""
        return str(outputs["api_endpoint"]).rstrip("/")

    def edge_addresses(self) -> Mapping[str, tuple[str, int]]:
        """Return none: DNS resolves the APIs of AWS."""
        return {}

    def issuer(self) -> str:
        """Return the issuer of the settings."""
        return self.settings.oidc_issuer

    def operations_endpoints(self) -> tuple[str, ...]:
        """Return the endpoints of the settings."""
        return revealed(self.settings.operations_endpoints)

    def operations_webhooks(self) -> tuple[str, ...]:
        """Return the webhooks of the settings."""
        return revealed(self.settings.operations_webhooks)

    def ca_bundle(self) -> Path | None:
        """Return None: certificates of AWS are publicly trusted."""
        return None

    def _state_key(self, stack: str) -> str:
        return f"{self.settings.environment_suffix}/{stack}.tfstate"

    @property
    def _owner(self) -> Path:
        return self.root / "account"

    def _account(self) -> str:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        region = self.settings.state_region
        try:
            sts = self.client("sts", region)
            if not sts.meta.endpoint_url.split("/")[2].split(":")[0].endswith((".amazonaws.com", ".amazonaws.com.cn")):
                raise DeploymentError(
                    f"the AWS profile sends requests to {sts.meta.endpoint_url}, so this would not be AWS: remove its "
                    "endpoint_url, or use --target embedded"
                )
            return str(sts.get_caller_identity()["Account"])
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise DeploymentError(f"there are no AWS credentials: {CREDENTIALS_FIX}") from error
        except ClientError as error:
            if _code(error) in EXPIRED:
                raise DeploymentError(f"the AWS credentials have expired: {CREDENTIALS_FIX}") from error
            if _code(error) in UNKNOWN:
                raise DeploymentError(f"AWS rejects these credentials: {CREDENTIALS_FIX}") from error
            raise DeploymentError(f"AWS refuses sts:GetCallerIdentity: {error}") from error
        except BotoCoreError as error:
            raise DeploymentError(f"the identity of the AWS credentials cannot be read: {error}") from error

    def _concurrency(self, region: str, needed: int) -> int | str:
        """Return the concurrency that no function has reserved, or the reason why it is unknown."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            limits = self.client("lambda", region).get_account_settings()["AccountLimit"]
        except ClientError as error:
            if int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= SERVER_FAULT:
                raise _region_down(region, error) from error
            return (
                f"the quotas of Lambda in {region} were not checked, because lambda:GetAccountSettings is refused "
                f"({_code(error)}): allow it, or compare `Concurrent executions` ({CONCURRENCY_QUOTA}) in Service "
                f"Quotas with the {needed} that HDR_THROTTLE_BURST needs"
            )
        except BotoCoreError as error:
            raise _region_down(region, error) from error
        return int(limits["UnreservedConcurrentExecutions"])

    def _demand_account(self, account: str) -> None:
        expected = self.settings.account_id
        if expected is not None and account != expected:
            raise DeploymentError(
                f"these credentials belong to account {account}, but HDR_ACCOUNT_ID={expected}: choose the right "
                "AWS_PROFILE, or correct the setting"
            )
        if self.settings.state_bucket is not None or not self._owner.exists():
            return
        owner = self._owner.read_text(encoding="ascii").strip()
        states = read_states(self.read_state, (*STACKS, PIPELINE))
        if account != owner and any(state.deployed for state in states.values()):
            raise DeploymentError(
                f"these credentials belong to account {account}, but {self.root} is deployed to {owner}: "
                "choose the right AWS_PROFILE, or another ENVIRONMENT_SUFFIX for this account"
            )

    def _demand_state_bucket(self, bucket: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        region = self.settings.state_region
        s3 = self.client("s3", region)
        try:
            head = s3.head_bucket(Bucket=bucket)
            actual = head["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", region)
            if actual != region:
                raise self._wrong_region(bucket, actual)
            versioning = s3.get_bucket_versioning(Bucket=bucket).get("Status")
        except ClientError as error:
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            actual = headers.get("x-amz-bucket-region", region)
            if actual != region:
                raise self._wrong_region(bucket, actual) from error
            if _code(error) in ("404", "NoSuchBucket"):
                raise DeploymentError(
                    f"HDR_STATE_BUCKET={bucket} does not exist: create it with `aws s3 mb s3://{bucket} --region "
                    f"{region}` and {_versioning_command(bucket)}"
                ) from error
            raise DeploymentError(f"HDR_STATE_BUCKET={bucket} cannot be used: {error}") from error
        except BotoCoreError as error:
            raise DeploymentError(f"HDR_STATE_BUCKET={bucket} cannot be read: {error}") from error
        if versioning != "Enabled":
            raise DeploymentError(
                f"HDR_STATE_BUCKET={bucket} keeps no versions, so a damaged state could not be restored: "
                f"{_versioning_command(bucket)}"
            )

    def _wrong_region(self, bucket: str, actual: str) -> DeploymentError:
        return DeploymentError(
            f"HDR_STATE_BUCKET={bucket} is in {actual}, but the state must be in {self.settings.state_region} to "
            "survive the loss of us-east-1: name a bucket there"
        )


def _region_down(region: str, error: Exception) -> DeploymentError:
    return DeploymentError(
        f"Lambda in {region} does not respond, and a deployment changes both regions: wait until the AWS Health "
        "Dashboard reports the region as available, or check the network. Failover needs no deployment: `hdr status` "
        f"shows both regions ({' '.join(str(error).split())})"
    )


def _versioning_command(bucket: str) -> str:
    return (
        f"`aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled` turns them on"
    )


def _code(error: "ClientError") -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
