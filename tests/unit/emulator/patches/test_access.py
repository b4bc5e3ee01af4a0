"""Tests of patches of permissions, each with ministack without patches."""

import json
import ssl
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from healthcare_dr.emulator import Emulator

Clients = Callable[..., Any]
Probe = Callable[[Clients], bool]

ACCOUNT = "123456789012"
ROOT = {"Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
CALLED = "def handler(event, context):\n    print('called')\n    return {'statusCode': 200, 'body': 'called'}\n"
IMPORTS = """
import importlib.util

def handler(event, context):
    print("called")
    return [name for name in ("boto3", "typer", "ministack") if importlib.util.find_spec(name)]
"""


def get(emulator: Emulator, address: str) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(emulator.certificate))
    with httpx.Client(verify=context, trust_env=False) as client:
        return client.get(address)


@pytest.mark.parametrize(("permitted", "status"), [(True, 200), (False, 500)])
def test_api_needs_permission_to_invoke_the_function(
    emulator: Emulator,
    unpatched_emulator: Emulator,
    patched: Clients,
    unpatched: Clients,
    make_function: Callable[..., str],
    make_api: Callable[..., str],
    permitted: bool,
    status: int,
) -> None:
    def call(target: Emulator, client: Clients) -> httpx.Response:
        function = make_function(client, f"permitted-{permitted}", CALLED)
        api = make_api(client, function, {"GET /health": {}}, permitted=permitted)
        return get(target, f"{target.api_url(api)}/health")

    assert call(emulator, patched).status_code == status
    assert call(unpatched_emulator, unpatched).status_code == 200


def test_health_path_reaches_the_api(
    emulator: Emulator,
    unpatched_emulator: Emulator,
    patched: Clients,
    unpatched: Clients,
    make_function: Callable[..., str],
    make_api: Callable[..., str],
) -> None:
    def health(target: Emulator, client: Clients) -> str:
        api = make_api(client, make_function(client, "health", CALLED), {"GET /health": {}}, permitted=True)
        context = ssl.create_default_context(cafile=str(target.certificate))
        with httpx.Client(verify=context, trust_env=False) as web:
            host = {"Host": f"{api}.execute-api.localhost:{target.port}"}
            return web.get(f"https://127.0.0.1:{target.port}/health", headers=host).text

    assert health(emulator, patched) == "called"
    assert health(unpatched_emulator, unpatched) != "called"


def test_admin_endpoints_are_blocked(emulator: Emulator, unpatched_emulator: Emulator) -> None:
    def download(target: Emulator) -> int:
        return get(target, f"https://127.0.0.1:{target.port}/_ministack/sqs/messages").status_code

    assert download(emulator) == 404
    assert download(unpatched_emulator) == 200


@pytest.mark.trap(36)
def test_principal_arn_condition_matches_the_role(
    holds_only_when_patched: Callable[[Probe], None], make_role: Callable[..., str]
) -> None:
    def probe(client: Clients) -> bool:
        statement = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
        caller = make_role(client, "api", statement, trust=ROOT)
        condition = {"ArnEquals": {"aws:PrincipalArn": caller}}
        target = make_role(client, "peer-documents", trust={**ROOT, "Condition": condition})
        session = client("sts").assume_role(RoleArn=caller, RoleSessionName="test")["Credentials"]
        try:
            client("sts", credentials=session).assume_role(RoleArn=target, RoleSessionName="test")
        except ClientError as error:
            return bool(error.response["Error"]["Code"] != "AccessDenied")
        return True

    holds_only_when_patched(probe)


@pytest.mark.parametrize(("key", "secret"), [(ACCOUNT, "wrong"), ("999999999999", "any"), ("test", "test")])
def test_root_request_with_wrong_secret_is_rejected(
    holds_only_when_patched: Callable[[Probe], None], key: str, secret: str
) -> None:
    def probe(client: Clients) -> bool:
        assert client("sts").get_caller_identity()["Arn"] == ROOT["Principal"]["AWS"]
        try:
            client("iam", credentials={"AccessKeyId": key, "SecretAccessKey": secret}).list_roles()
        except ClientError as error:
            return error.response["Error"]["Code"] in ("SignatureDoesNotMatch", "InvalidClientTokenId")
        return False

    holds_only_when_patched(probe)


def test_bucket_policy_sees_the_key_of_an_upload(
    holds_only_when_patched: Callable[[Probe], None], make_role: Callable[..., str]
) -> None:
    def probe(client: Clients) -> bool:
        right, wrong = (client("kms").create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        header = "s3:x-amz-server-side-encryption-aws-kms-key-id"
        deny = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::documents/*",
            "Condition": {"Null": {header: "false"}, "StringNotEquals": {header: right}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
        client("s3").create_bucket(Bucket="documents")
        client("s3").put_bucket_policy(Bucket="documents", Policy=policy)
        statement = {"Effect": "Allow", "Action": ["s3:PutObject", "kms:GenerateDataKey*"], "Resource": "*"}
        role = make_role(client, "writer", statement, trust=ROOT)
        session = client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        s3 = client("s3", credentials=session)
        upload = {"Bucket": "documents", "Key": "k", "Body": b"", "ServerSideEncryption": "aws:kms"}
        s3.put_object(**upload, SSEKMSKeyId=right)
        try:
            s3.put_object(**upload, SSEKMSKeyId=wrong)
        except ClientError as error:
            return bool(error.response["Error"]["Code"] == "AccessDenied")
        return False

    holds_only_when_patched(probe)


def session_of(client: Clients, role: str) -> dict[str, str]:
    return dict(client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"])


def refused(call: Callable[..., Any], **arguments: Any) -> bool:
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException", "403")
    return False


@pytest.fixture
def sealed(make_role: Callable[..., str]) -> Callable[[Clients], tuple[Any, ...]]:
    """A bucket and a table under one key, for use through S3 and DynamoDB only: a role with the key's permission,
    a role without it, and the key.
    """

    def make(client: Clients, region: str = "us-east-1") -> tuple[Any, ...]:
        via = {"StringEquals": {"kms:ViaService": [f"{s}.{region}.amazonaws.com" for s in ("s3", "dynamodb")]}}
        administration = {"Action": ["kms:Describe*", "kms:Put*", "kms:Get*", "kms:ScheduleKeyDeletion"]}
        use = {"Action": ["kms:Decrypt", "kms:GenerateDataKey*"], "Condition": via}
        policy = [{"Effect": "Allow", "Resource": "*", **ROOT, **part} for part in (administration, use)]
        document = json.dumps({"Version": "2012-10-17", "Statement": policy})
        key = client("kms", region).create_key(Policy=document)["KeyMetadata"]["Arn"]
        name, s3 = uuid.uuid4().hex, client("s3", region)
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **where)
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
        s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
        s3.put_object(Bucket=name, Key="there", Body=b"")
        client("dynamodb", region).create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            SSESpecification={"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key},
        )
        data = {"Effect": "Allow", "Action": ["s3:*", "dynamodb:*"], "Resource": "*"}
        keys = {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey*"], "Resource": key}
        allowed, denied = (
            session_of(client, make_role(client, f"{kind}-{name}", *statements, trust=ROOT))
            for kind, statements in (("with", (data, keys)), ("without", (data,)))
        )
        return name, key, allowed, denied

    return make


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "put_object", {"Bucket": "NAME", "Key": "new", "Body": b""}),
        ("s3", "get_object", {"Bucket": "NAME", "Key": "there"}),
        ("dynamodb", "put_item", {"TableName": "NAME", "Item": {"pk": {"S": "new"}}}),
        ("dynamodb", "get_item", {"TableName": "NAME", "Key": {"pk": {"S": "there"}}}),
    ],
)
def test_caller_without_key_permission_is_denied(
    holds_only_when_patched: Callable[[Probe], None],
    sealed: Callable[[Clients], tuple[Any, ...]],
    service: str,
    operation: str,
    arguments: dict[str, Any],
) -> None:
    def probe(client: Clients) -> bool:
        name, key, allowed, denied = sealed(client)
        named = {argument: name if value == "NAME" else value for argument, value in arguments.items()}
        # Permission to use the key through a service does not include direct use.
        assert refused(client("kms", credentials=allowed).generate_data_key, KeyId=key, KeySpec="AES_256")
        getattr(client(service, credentials=allowed), operation)(**named)
        return refused(getattr(client(service, credentials=denied), operation), **named)

    holds_only_when_patched(probe)


def test_presigned_url_uses_the_key_of_its_region(
    emulator: Emulator,
    unpatched_emulator: Emulator,
    patched: Clients,
    unpatched: Clients,
    sealed: Callable[[Clients, str], tuple[Any, ...]],
) -> None:
    def statuses(target: Emulator, client: Clients) -> list[int]:
        name, _, *sessions = sealed(client, "us-west-2")
        signers = [client("s3", "us-west-2", session, Config(signature_version="s3v4")) for session in sessions]
        there = {"Bucket": name, "Key": "there"}
        return [
            get(target, signer.generate_presigned_url("get_object", Params=there)).status_code for signer in signers
        ]

    assert statuses(emulator, patched) == [200, 403]
    assert statuses(unpatched_emulator, unpatched) == [200, 200]


@pytest.mark.trap(39)
def test_function_sees_only_packages_of_its_runtime(
    holds_only_when_patched: Callable[[Probe], None], make_function: Callable[..., str]
) -> None:
    def probe(client: Clients) -> bool:
        function = make_function(client, "imports", IMPORTS)
        return bool(json.loads(client("lambda").invoke(FunctionName=function)["Payload"].read()) == ["boto3"])

    holds_only_when_patched(probe)


@pytest.mark.parametrize("operation", ["get_item", "put_item"])
def test_policies_see_leading_keys(
    holds_only_when_patched: Callable[[Probe], None], make_role: Callable[..., str], operation: str
) -> None:
    def probe(client: Clients) -> bool:
        name = uuid.uuid4().hex
        table = client("dynamodb").create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )["TableDescription"]["TableArn"]
        statement = {
            "Effect": "Allow",
            "Action": ["dynamodb:GetItem", "dynamodb:PutItem"],
            "Resource": table,
            "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["$platform#heartbeat"]}},
        }
        role = make_role(client, name, statement, trust=ROOT)
        session = client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
        dynamodb = client("dynamodb", credentials=session)

        def allowed(pk: str) -> bool:
            item = {"pk": {"S": pk}, "sk": {"S": "us-east-1"}}
            try:
                getattr(dynamodb, operation)(TableName=name, **{"Key" if operation == "get_item" else "Item": item})
            except dynamodb.exceptions.ClientError as error:
                return bool(error.response["Error"]["Code"] != "AccessDeniedException")
            return True

        assert allowed("$platform#heartbeat")
        return not allowed("north-clinic#Patient#1")

    holds_only_when_patched(probe)
