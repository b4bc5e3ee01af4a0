"""One embedded AWS with patches and one without, for all tests, and their clients."""

import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from bench.ports import free_port
from botocore.config import Config

from healthcare_dr.emulator import Emulator, Replication, fault_state
from healthcare_dr.emulator.fault_state import OPEN
from unit.emulator.edge import ECHO, REGIONS, EdgeApis, eventually
from unit.emulator.replicas import settle

REGION = "us-east-1"

Clients = Callable[..., Any]


def clients(emulator: Emulator) -> Clients:
    """Return a factory of boto3 clients of `emulator`, as root or with the credentials of AssumeRole."""
    environment = emulator.environment()

    def client(
        service: str,
        region: str = REGION,
        credentials: Mapping[str, str] | None = None,
        config: Config | None = None,
    ) -> Any:
        credentials = credentials or {
            "AccessKeyId": environment["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": environment["AWS_SECRET_ACCESS_KEY"],
        }
        return boto3.client(
            service,
            region_name=region,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            verify=environment["AWS_CA_BUNDLE"],
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials.get("SessionToken"),
            config=config,
        )

    return client


@pytest.fixture(scope="session")
def make_emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Emulator]]:
    """Return a factory of handles with their own home and ports; their processes are stopped in the end."""
    with ExitStack() as stack:

        def make(home: Path | None = None, *, patched: bool = True) -> Emulator:
            home = home or tmp_path_factory.mktemp("emulator") / "home"
            emulator = Emulator(home=home, port=free_port(), patched=patched, ends_with=os.getpid())
            stack.callback(emulator.stop)
            return emulator

        yield make


@pytest.fixture(scope="session")
def emulator(make_emulator: Callable[..., Emulator]) -> Emulator:
    """The embedded AWS with patches, running."""
    emulator = make_emulator()
    emulator.start()
    return emulator


@pytest.fixture(scope="session")
def unpatched_emulator(make_emulator: Callable[..., Emulator]) -> Emulator:
    """ministack without patches, running."""
    emulator = make_emulator(patched=False)
    emulator.start()
    return emulator


@pytest.fixture(scope="session")
def patched(emulator: Emulator) -> Clients:
    """Clients of the embedded AWS with patches."""
    return clients(emulator)


@pytest.fixture(scope="session")
def unpatched(unpatched_emulator: Emulator) -> Clients:
    """Clients of ministack without patches."""
    return clients(unpatched_emulator)


@pytest.fixture(scope="session")
def clients_of() -> Callable[[Emulator], Clients]:
    """Return the factory of clients of any embedded AWS."""
    return clients


@pytest.fixture(scope="session")
def make_role() -> Callable[..., str]:
    """Return a function that creates a role with one inline policy and returns its ARN."""

    def make(client: Clients, name: str, *statements: Mapping[str, Any], trust: Mapping[str, Any]) -> str:
        iam = client("iam")
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", **trust}]}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
        if statements:
            policy = {"Version": "2012-10-17", "Statement": statements}
            iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
        return str(arn)

    return make


@pytest.fixture(scope="session")
def make_function(make_role: Callable[..., str]) -> Callable[..., str]:
    """Return a function that creates a Lambda function from the source of one module and returns its ARN."""

    def make(client: Clients, name: str, source: str, *statements: Mapping[str, Any]) -> str:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as package:
            # Without the time, so that two functions of one source have equal zips.
            package.writestr(zipfile.ZipInfo("function.py"), source)
        role = make_role(client, name, *statements, trust={"Principal": {"Service": "lambda.amazonaws.com"}})
        function = client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Architectures=["arm64"],
            Handler="function.handler",
            Role=role,
            Timeout=30,
            MemorySize=3072,
            Code={"ZipFile": archive.getvalue()},
        )
        return str(function["FunctionArn"])

    return make


@pytest.fixture(scope="session")
def make_api() -> Callable[..., str]:
    """Return a function that creates an HTTP API with routes to one function, which it may be `permitted` to invoke."""

    def make(client: Clients, function: str, routes: Mapping[str, Mapping[str, Any]], *, permitted: bool) -> str:
        apis = client("apigatewayv2")
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
            apis.create_route(
                ApiId=api,
                RouteKey=key,
                Target=f"integrations/{integration}",
                AuthorizationScopes=route.get("scopes", []),
                **authorizer,
            )
        apis.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
        if permitted:
            account, region = function.split(":")[4], function.split(":")[3]
            client("lambda").add_permission(
                FunctionName=function,
                StatementId=api,
                Action="lambda:InvokeFunction",
                Principal="apigateway.amazonaws.com",
                SourceArn=f"arn:aws:execute-api:{region}:{account}:{api}/*/*",
            )
        return api

    return make


@pytest.fixture(scope="session")
def holds_only_when_patched(patched: Clients, unpatched: Clients) -> Callable[[Callable[[Clients], bool]], None]:
    """Check that a probe is true with the patches and false without them."""

    def check(probe: Callable[[Clients], bool]) -> None:
        assert probe(patched)
        assert not probe(unpatched), "ministack does this correctly: the patch is not needed any more"

    return check


@pytest.fixture
def fresh(make_emulator: Callable[..., Emulator]) -> Emulator:
    return make_emulator()


@pytest.fixture
def replicating(emulator: Emulator) -> Iterator[Emulator]:
    """The embedded AWS without replication lag."""
    emulator.set_replication(tables=True, documents=True, lag_seconds=0)
    yield emulator
    emulator.set_replication(tables=True, documents=True, lag_seconds=Replication().lag_seconds)
    settle(emulator)


@pytest.fixture(scope="session")
def edge_apis(
    emulator: Emulator, patched: Clients, make_function: Callable[..., str], make_api: Callable[..., str]
) -> EdgeApis:
    apis = {}
    for region in REGIONS:

        def client(service: str, region: str = region) -> Any:
            return patched(service, region)

        function = make_function(client, f"echo-{region}", ECHO)
        apis[region] = make_api(client, function, {"$default": {}}, permitted=True)
    return EdgeApis(emulator, apis)


@pytest.fixture
def edge(edge_apis: EdgeApis) -> Iterator[EdgeApis]:
    yield edge_apis
    for region in REGIONS:
        edge_apis.emulator.set_edge_fault(region, OPEN)
        for host in fault_state.read(edge_apis.emulator.home / "conditions.json").host_faults(region):
            edge_apis.emulator.set_edge_fault(region, OPEN, hosts=[host])
    assert all(eventually(partial(edge_apis.serves, region)) for region in REGIONS)
