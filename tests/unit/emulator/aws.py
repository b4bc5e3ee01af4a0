"""An embedded AWS that runs, its clients, and the decorator of tests that only pass with the patches."""

import functools
import inspect
import io
import json
import ssl
import time
import uuid
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import ClientError

from healthcare_dr.emulator.emulator import Emulator

REGIONS = EAST, WEST = "us-east-1", "us-west-2"
ACCOUNT = "123456789012"
ROOT: dict[str, Any] = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
KEY_TYPES = ("HASH", "RANGE")
DENIALS = ("AccessDenied", "AccessDeniedException", "403")
ONCE = Config(retries={"total_max_attempts": 1})
ECHO = """
import json

def handler(event, context):
    print("called")
    return {"statusCode": 200, "body": json.dumps(event), "headers": {"Content-Type": "application/json"}}
"""


class Aws:
    """An embedded AWS that runs. A call returns a boto3 client, as root or with the credentials of a role."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._environment = emulator.environment()

    def __call__(
        self,
        service: str,
        region: str = EAST,
        credentials: Mapping[str, str] | None = None,
        config: Config | None = None,
    ) -> Any:
        credentials = credentials or {
            "AccessKeyId": self._environment["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": self._environment["AWS_SECRET_ACCESS_KEY"],
        }
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=self._environment["AWS_ENDPOINT_URL"],
            verify=self._environment["AWS_CA_BUNDLE"],
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
            config=config,
        )

    def web(self, **options: Any) -> httpx.Client:
        """Return an HTTP client that trusts its certificates."""
        context = ssl.create_default_context(cafile=str(self.emulator.certificate))
        return httpx.Client(verify=context, trust_env=False, **options)

    def get(self, address: str) -> httpx.Response:
        with self.web() as client:
            return client.get(address)

    def role(self, name: str, *statements: Mapping[str, Any], trust: Mapping[str, Any] = ROOT) -> str:
        """Create a role with one inline policy, and return its ARN."""
        trusting = document({"Effect": "Allow", "Action": "sts:AssumeRole", **trust})
        arn = self("iam").create_role(RoleName=name, AssumeRolePolicyDocument=trusting)["Role"]["Arn"]
        if statements:
            self("iam").put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document(*statements))
        return str(arn)

    def session(self, role: str) -> dict[str, str]:
        """Return credentials of a role."""
        return dict(self("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"])

    def table(
        self, *, name: str | None = None, keys: tuple[str, ...] = ("pk",), region: str = EAST, **options: Any
    ) -> str:
        """Create a table with string keys, and return its name."""
        name = name or uuid.uuid4().hex
        self("dynamodb", region).create_table(
            TableName=name,
            KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, KEY_TYPES, strict=False)],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in keys],
            BillingMode="PAY_PER_REQUEST",
            **options,
        )
        return name

    def bucket(self, *, region: str = EAST, versioned: bool = False) -> str:
        """Create a bucket, and return its name."""
        name, s3 = uuid.uuid4().hex, self("s3", region)
        s3.create_bucket(
            Bucket=name, **({} if region == EAST else {"CreateBucketConfiguration": {"LocationConstraint": region}})
        )
        if versioned:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def function(
        self,
        name: str,
        source: str,
        *statements: Mapping[str, Any],
        region: str = EAST,
        files: Mapping[str, str] | None = None,
    ) -> str:
        """Create a Lambda function from the source of one module and further files, and return its ARN."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as package:
            for file, content in {"function.py": source, **(files or {})}.items():
                # Without the time, so that two functions of one source have equal zips.
                package.writestr(zipfile.ZipInfo(file), content)
        function = self("lambda", region).create_function(
            FunctionName=name,
            Runtime="python3.13",
            Architectures=["arm64"],
            Handler="function.handler",
            Role=self.role(name, *statements, trust={"Principal": {"Service": "lambda.amazonaws.com"}}),
            Timeout=30,
            MemorySize=3072,
            Code={"ZipFile": archive.getvalue()},
        )
        return str(function["FunctionArn"])

    def invoke(self, function: str, event: object = None, *, region: str = EAST) -> Any:
        """Invoke a function and return its result."""
        answer = self("lambda", region).invoke(FunctionName=function, Payload=json.dumps(event))
        return json.load(answer["Payload"])

    def api(self, function: str, routes: Mapping[str, Mapping[str, str]], *, permitted: bool = True) -> str:
        """Create an HTTP API with routes to one function, which it may be `permitted` to invoke; return its id.

        A route with an `issuer` requires its tokens.
        """
        region, account = function.split(":")[3:5]
        apis = self("apigatewayv2", region)
        api = str(apis.create_api(Name="api", ProtocolType="HTTP")["ApiId"])
        integration = apis.create_integration(
            ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0"
        )["IntegrationId"]
        for key, route in routes.items():
            authorizer = {}
            if issuer := route.get("issuer"):
                authorizer["AuthorizationType"] = "JWT"
                authorizer["AuthorizerId"] = apis.create_authorizer(
                    ApiId=api,
                    AuthorizerType="JWT",
                    Name=key,
                    IdentitySource=["$request.header.Authorization"],
                    JwtConfiguration={"Audience": ["healthcare-dr"], "Issuer": issuer},
                )["AuthorizerId"]
            apis.create_route(ApiId=api, RouteKey=key, Target=f"integrations/{integration}", **authorizer)
        apis.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
        if permitted:
            self("lambda", region).add_permission(
                FunctionName=function,
                StatementId=api,
                Action="lambda:InvokeFunction",
                Principal="apigateway.amazonaws.com",
                SourceArn=f"arn:aws:execute-api:{region}:{account}:{api}/*/*",
            )
        return api


def allow(*actions: str, resource: str = "*", **others: Any) -> dict[str, Any]:
    """Return a statement that allows actions."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **others}


def document(*statements: Mapping[str, Any]) -> str:
    """Return a policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def error_code(call: Callable[..., Any], **arguments: Any) -> str:
    """Return the error code of a call of boto3; an empty string when it succeeds."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def is_denied(call: Callable[..., Any], **arguments: Any) -> bool:
    """Return whether a call of boto3 is denied. Any other error is raised."""
    code = error_code(call, **arguments)
    assert code in ("", *DENIALS), code
    return code in DENIALS


def only_when_patched(probe: Callable[..., bool]) -> Callable[..., None]:
    """Make a test of a probe, whose first parameter is an embedded AWS: true with the patches, and false without."""

    def test(patched: Aws, unpatched: Aws, **fixtures: Any) -> None:
        assert probe(patched, **fixtures), "false with the patches"
        assert not probe(unpatched, **fixtures), "ministack does this correctly: the patch is not needed any more"

    signature = inspect.signature(probe)
    running = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("patched", "unpatched")]
    others = list(signature.parameters.values())[1:]
    test.__signature__ = signature.replace(parameters=[*running, *others])  # type: ignore[attr-defined]
    return functools.wraps(probe)(test)


def eventually(holds: Callable[[], Any], *, within: float = 30.0) -> Any:
    """Return the result of `holds` as soon as it is true, or its last result after `within` seconds."""
    deadline = time.monotonic() + within
    while not (result := holds()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return result
