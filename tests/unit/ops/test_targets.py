"""The targets: environment variables of child processes, clients, and checks before a change."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from healthcare_dr.errors import DeploymentError
from healthcare_dr.naming import PIPELINE, STACKS
from healthcare_dr.ops.targets.aws import AwsTarget
from healthcare_dr.ops.targets.embedded import EmbeddedTarget
from healthcare_dr.settings import load_settings
from unit.ops.fakes import FakeEmulator

USER = {
    "PATH": "/usr/bin",
    "HOME": "/home/op",
    "LC_ALL": "C.UTF-8",
    "AWS_PROFILE": "production",
    "AWS_SESSION_TOKEN": "secret",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_ROLE_ARN": "arn:aws:iam::999999999999:role/real",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/token",
    "GITHUB_TOKEN": "secret",
    "TF_CLI_ARGS_plan": "-target=x",
    "TF_VAR_oidc_issuer": "https://evil.example",
    "TF_DATA_DIR": "/elsewhere",
    "TF_WORKSPACE": "other",
    "TF_LOG": "DEBUG",
    "TF_LOG_PATH": "/elsewhere",
}


def embedded(tmp_path: Path, user: Mapping[str, str] = USER) -> EmbeddedTarget:
    return EmbeddedTarget(emulator=FakeEmulator(home=tmp_path).handle, root=tmp_path, user_environment=user)


def test_child_environment_of_the_embedded_target_has_no_credentials_of_the_user(tmp_path: Path) -> None:
    environment = embedded(tmp_path).child_environment()
    assert {name for name in environment if name.startswith("AWS_")} == set(FakeEmulator(tmp_path).environment())
    assert environment["AWS_ACCESS_KEY_ID"] == "123456789012"
    assert environment["AWS_CONFIG_FILE"] == environment["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert not set(environment) & {"GITHUB_TOKEN", "TF_CLI_ARGS_plan", "TF_DATA_DIR", "TF_WORKSPACE"}
    assert "secret" not in environment.values()
    assert environment["TF_VAR_oidc_issuer"] == "https://127.0.0.1:2"
    assert (environment["PATH"], environment["LC_ALL"]) == ("/usr/bin", "C.UTF-8")


def test_clients_of_the_embedded_target_ignore_profiles_and_endpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "config"
    profile.write_text("[default]\nregion = eu-west-1\nendpoint_url = https://evil.example\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    monkeypatch.setenv("AWS_PROFILE", "does-not-exist")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://evil.example")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "secret")
    client = embedded(tmp_path).client("s3", "us-west-2")
    assert client.meta.endpoint_url == "https://127.0.0.1:1"
    assert client.meta.region_name == "us-west-2"
    credentials = client._request_signer._credentials
    assert (credentials.access_key, credentials.token) == ("123456789012", None)


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTPS_PROXY": "http://127.0.0.1:2", "HTTP_PROXY": "http://127.0.0.1:2"},
        {"https_proxy": "http://127.0.0.1:2", "all_proxy": "socks5://127.0.0.1:2", "NO_PROXY": "example.org"},
    ],
)
def test_clients_of_the_embedded_target_use_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Nothing listens on port 1: with a proxy, the error would name the proxy."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "authority.pem").write_bytes(trustme.CA().cert_pem.bytes())
    monkeypatch.chdir(tmp_path)
    for service, call in {"s3": "list_buckets", "sts": "get_caller_identity", "dynamodb": "list_tables"}.items():
        client = embedded(tmp_path).client(service, "us-west-2")
        with pytest.raises(EndpointConnectionError, match=r"https://127\.0\.0\.1:1"):
            getattr(client, call)()


def test_embedded_target_requires_a_running_emulator(tmp_path: Path) -> None:
    target = embedded(tmp_path)
    with pytest.raises(DeploymentError, match="hdr up"):
        target.preflight()
    target.emulator.start()
    target.preflight()


def refusal(code: str, operation: str = "op", headers: Mapping[str, str] | None = None) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPHeaders": dict(headers or {})}},
        operation,
    )


class Aws:
    """STS and S3, with given responses or errors."""

    def __init__(
        self,
        *,
        account: str = "111122223333",
        identity: Exception | None = None,
        endpoint: str = "https://sts.us-west-2.amazonaws.com",
        head: Exception | str = "us-west-2",
        versioning: str | None = "Enabled",
        objects: Mapping[str, bytes] | Exception | None = None,
    ) -> None:
        self.account, self.identity, self.head, self.versioning = account, identity, head, versioning
        self.meta = SimpleNamespace(endpoint_url=endpoint)
        self.objects = objects or {}

    def __call__(self, service: str, region: str) -> "Aws":
        assert service in ("sts", "s3")
        assert region == "us-west-2"
        return self

    def get_caller_identity(self) -> dict[str, str]:
        if self.identity is not None:
            raise self.identity
        return {"Account": self.account}

    def head_bucket(self, *, Bucket: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert Bucket == "states"
        if isinstance(self.head, Exception):
            raise self.head
        return {"ResponseMetadata": {"HTTPHeaders": {"x-amz-bucket-region": self.head}}}

    def get_bucket_versioning(self, *, Bucket: str) -> dict[str, str]:  # noqa: N803 - boto3's names
        assert Bucket == "states"
        return {} if self.versioning is None else {"Status": self.versioning}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert Bucket == "states"
        if isinstance(self.objects, Exception):
            raise self.objects
        if Key not in self.objects:
            raise refusal("NoSuchKey")
        content = self.objects[Key]
        return {"Body": SimpleNamespace(read=lambda: content)}


Make = Callable[..., AwsTarget]


@pytest.fixture
def aws(tmp_path: Path) -> Make:
    def make(service: Aws | None = None, *, user: Mapping[str, str] | None = None, **settings: Any) -> AwsTarget:
        return AwsTarget(
            settings=load_settings(**settings), root=tmp_path, user_environment=user or {}, clients=service or Aws()
        )

    return make


def test_child_environment_of_the_aws_target_has_credentials_but_no_terraform_options(aws: Make) -> None:
    environment = aws(user=USER).child_environment()
    assert environment["AWS_PROFILE"] == "production"
    steering = ("TF_LOG", "TF_LOG_PATH", "TF_CLI_ARGS_plan", "TF_VAR_oidc_issuer", "TF_DATA_DIR", "TF_WORKSPACE")
    assert not [name for name in steering if name in environment]


PAGER = "https://events.example.com/integration/KEY/enqueue"


@pytest.mark.requirement("R7.2")
def test_secret_endpoints_are_given_to_terraform_on_aws(aws: Make) -> None:
    target = aws(user={"TF_VAR_operations_endpoints": "[]"}, operations_endpoints=PAGER)
    assert json.loads(target.child_environment()["TF_VAR_operations_endpoints"]) == [PAGER]
    assert "KEY" not in repr(target)


def test_embedded_aws_delivers_to_its_own_receivers(tmp_path: Path) -> None:
    target = replace(embedded(tmp_path), endpoints=2)
    own = ["https://127.0.0.1:2/endpoint-0", "https://127.0.0.1:2/endpoint-1"]
    assert json.loads(target.child_environment()["TF_VAR_operations_endpoints"]) == own
    assert "TF_VAR_operations_endpoints" not in embedded(tmp_path).child_environment()


def test_valid_credentials_and_state_bucket_are_accepted(aws: Make) -> None:
    aws(account_id="111122223333", state_bucket="states").preflight()


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_STS"])
def test_endpoint_in_the_environment_is_refused(aws: Make, name: str) -> None:
    with pytest.raises(DeploymentError, match=f"{name} is set, so this would not be AWS"):
        aws(user={name: "https://127.0.0.1:4566"}).preflight()


@pytest.mark.parametrize(
    ("service", "account", "line"),
    [
        (Aws(endpoint="https://127.0.0.1:4566"), None, "sends requests to https://127.0.0.1:4566"),
        (Aws(), "444455556666", "belong to account 111122223333, but HDR_ACCOUNT_ID=444455556666"),
        *(
            (Aws(identity=error), None, line)
            for error, line in (
                (NoCredentialsError(), "there are no AWS credentials: give valid credentials in AWS_PROFILE"),
                (refusal("ExpiredToken"), "the AWS credentials have expired"),
                (refusal("InvalidClientTokenId"), "AWS rejects these credentials"),
                (refusal("SignatureDoesNotMatch"), "AWS rejects these credentials"),
                (refusal("AccessDenied"), "AWS refuses sts:GetCallerIdentity"),
                (EndpointConnectionError(endpoint_url="https://sts"), "the identity of the AWS credentials cannot be"),
            )
        ),
    ],
)
def test_invalid_credentials_or_account_print_one_line(aws: Make, service: Aws, account: str | None, line: str) -> None:
    with pytest.raises(DeploymentError, match=line) as e:
        aws(service, account_id=account).preflight()
    assert "\n" not in str(e.value)


def test_missing_credentials_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DeploymentError, match="there are no AWS credentials"):
        AwsTarget(settings=load_settings(), root=tmp_path, user_environment={}).preflight()


class Regions:
    """Lambda in both regions, with given quotas or errors."""

    def __init__(self, east: int | Exception, west: int | Exception = 1000) -> None:
        self._found = {"us-east-1": east, "us-west-2": west}

    def __call__(self, service: str, region: str) -> Any:
        assert service == "lambda"

        def get_account_settings() -> dict[str, Any]:
            found = self._found[region]
            if isinstance(found, Exception):
                raise found
            return {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": found}}

        return SimpleNamespace(get_account_settings=get_account_settings)


def quotas(tmp_path: Path, lambdas: Regions, *, required: bool, **settings: Any) -> list[str]:
    target = AwsTarget(settings=load_settings(**settings), root=tmp_path, user_environment={}, clients=lambdas)
    return target.check_quotas(required=required)


def test_sufficient_quotas_give_no_warning(tmp_path: Path) -> None:
    assert quotas(tmp_path, Regions(1000), required=True) == []
    assert quotas(tmp_path, Regions(500, 500), required=True) == []


@pytest.mark.trap(33)
@pytest.mark.parametrize("lambdas", [Regions(10, 1000), Regions(1000, 10), Regions(54, 54)])
def test_first_deployment_is_refused_without_concurrency_for_the_sustained_load(
    tmp_path: Path, lambdas: Regions
) -> None:
    with pytest.raises(
        DeploymentError, match=r"concurrent executions of Lambda, but HDR_THROTTLE_RATE=1000 needs 55"
    ) as e:
        quotas(tmp_path, lambdas, required=True)
    assert "L-B99A9384" in str(e.value)
    assert "\n" not in str(e.value)
    assert "HDR_THROTTLE_RATE=1000 needs 55" in quotas(tmp_path, lambdas, required=False)[0]


def test_new_account_is_accepted_with_a_lower_rate(tmp_path: Path) -> None:
    found = quotas(tmp_path, Regions(10, 10), required=True, throttle_rate=100)
    assert len(found) == 2
    assert all(
        "allows 10 concurrent executions of Lambda, but HDR_THROTTLE_BURST=500 needs 500" in each for each in found
    )
    assert quotas(tmp_path, Regions(10, 10), required=True, throttle_rate=100, throttle_burst=10) == []


def test_regions_with_different_quotas_are_reported(tmp_path: Path) -> None:
    (found,) = quotas(tmp_path, Regions(1000, 3000), required=True)
    assert found.startswith("us-east-1 allows 1000, but us-west-2 allows 3000 concurrent executions")


def test_quotas_that_may_not_be_read_are_reported(tmp_path: Path) -> None:
    (found,) = quotas(tmp_path, Regions(refusal("AccessDeniedException")), required=True)
    assert "us-east-1 were not checked, because lambda:GetAccountSettings is refused (AccessDeniedException)" in found


def test_region_that_does_not_respond_cannot_be_deployed_to(tmp_path: Path) -> None:
    down = ClientError(
        {"Error": {"Code": "ServiceException", "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": 500}}, "op"
    )
    for error in (EndpointConnectionError(endpoint_url="https://lambda"), down):
        for required in (True, False):
            with pytest.raises(DeploymentError, match="Lambda in us-west-2 does not respond") as e:
                quotas(tmp_path, Regions(1000, error), required=required)
            assert "\n" not in str(e.value)


DEPLOYED = b'{"version": 4, "resources": [{"mode": "managed", "instances": [{}]}]}'


@pytest.mark.parametrize("stack", [*STACKS, PIPELINE])
def test_local_state_belongs_to_one_account(aws: Make, tmp_path: Path, stack: str) -> None:
    aws().preflight()
    assert not (tmp_path / "account").exists(), "nothing was deployed yet"
    aws().remember()
    state = tmp_path / "state" / f"{stack}.tfstate"
    state.parent.mkdir()
    state.write_bytes(DEPLOYED)
    aws().preflight()
    other = aws(Aws(account="444455556666"))
    with pytest.raises(DeploymentError, match=r"belong to account 444455556666, .* deployed to 111122223333: choose"):
        other.preflight()
    state.write_bytes(b'{"version": 4, "resources": []}')
    other.preflight()
    other.remember()
    assert (tmp_path / "account").read_text() == "444455556666\n"


def test_account_of_a_state_in_a_bucket_is_not_recorded(aws: Make, tmp_path: Path) -> None:
    aws(state_bucket="states").remember()
    assert not (tmp_path / "account").exists()


@pytest.mark.trap(37)
@pytest.mark.parametrize(
    ("service", "line"),
    [
        (Aws(head="us-east-1"), "is in us-east-1, but the state must be in us-west-2"),
        (
            Aws(head=refusal("301", headers={"x-amz-bucket-region": "us-east-1"})),
            "is in us-east-1, but the state must be in us-west-2",
        ),
        (Aws(head=refusal("404")), "does not exist: create it with `aws s3 mb s3://states --region us-west-2`"),
        (Aws(head=refusal("403")), "cannot be used"),
        (Aws(versioning=None), "keeps no versions.*put-bucket-versioning --bucket states"),
        (Aws(versioning="Suspended"), "keeps no versions"),
    ],
)
def test_unsuitable_state_bucket_is_refused(aws: Make, service: Aws, line: str) -> None:
    with pytest.raises(DeploymentError, match=line) as e:
        aws(service, state_bucket="states").preflight()
    assert "\n" not in str(e.value)


def test_state_is_read_from_its_backend(aws: Make, tmp_path: Path) -> None:
    local = aws()
    assert local.read_state("healthcare-dr-primary") is None
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "healthcare-dr-primary.tfstate").write_bytes(b"local")
    assert local.read_state("healthcare-dr-primary") == b"local"

    remote = aws(Aws(objects={"dev/healthcare-dr-primary.tfstate": b"remote"}), state_bucket="states")
    assert remote.read_state("healthcare-dr-primary") == b"remote"
    assert remote.read_state("healthcare-dr-global") is None
    with pytest.raises(DeploymentError, match="the state in states cannot be read"):
        aws(Aws(objects=refusal("AccessDenied")), state_bucket="states").read_state("healthcare-dr-global")


@pytest.mark.parametrize(
    "name",
    [
        "AWS_DEFAULTS_MODE",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_REQUEST_CHECKSUM_CALCULATION",
        "AWS_ACCOUNT_ID_ENDPOINT_MODE",
        "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES",
    ],
)
def test_clients_of_the_embedded_target_ignore_botocore_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "bogus")
    assert embedded(tmp_path).client("sts", "us-east-1").meta.region_name == "us-east-1"
