"""Tests of permission for customer managed keys, also through S3 and DynamoDB."""

import uuid
from typing import Any

import pytest
from botocore.config import Config

from unit.emulator.aws import EAST, ROOT, WEST, Aws, allow, document, is_denied, only_when_patched


def encrypted_stores(aws: Aws, region: str = EAST) -> tuple[str, str, dict[str, str], dict[str, str]]:
    """Create a bucket and a table under one key, for use through S3 and DynamoDB only.

    Return their name, the key, and the credentials of a role with the key's permission and of one without it.
    """
    via = {"StringEquals": {"kms:ViaService": [f"{s}.{region}.amazonaws.com" for s in ("s3", "dynamodb")]}}
    administration = allow("kms:Describe*", "kms:Put*", "kms:Get*", "kms:ScheduleKeyDeletion", **ROOT)
    use = allow("kms:Decrypt", "kms:GenerateDataKey*", **ROOT, Condition=via)
    key = aws("kms", region).create_key(Policy=document(administration, use))["KeyMetadata"]["Arn"]
    name, s3 = aws.bucket(region=region), aws("s3", region)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=name, Key="there", Body=b"")
    encryption = {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": key}
    aws.table(name=name, region=region, SSESpecification=encryption)
    data, keys = allow("s3:*", "dynamodb:*"), allow("kms:Decrypt", "kms:GenerateDataKey*", resource=key)
    allowed, denied = aws.role(f"with-{name}", data, keys), aws.role(f"without-{name}", data)
    return name, key, aws.session(allowed), aws.session(denied)


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "put_object", {"Bucket": "NAME", "Key": "new", "Body": b""}),
        ("s3", "get_object", {"Bucket": "NAME", "Key": "there"}),
        ("dynamodb", "put_item", {"TableName": "NAME", "Item": {"pk": {"S": "new"}}}),
        ("dynamodb", "get_item", {"TableName": "NAME", "Key": {"pk": {"S": "there"}}}),
    ],
)
@only_when_patched
def test_caller_without_key_permission_is_denied(
    aws: Aws, service: str, operation: str, arguments: dict[str, Any]
) -> bool:
    name, key, allowed, denied = encrypted_stores(aws)
    named = {argument: name if value == "NAME" else value for argument, value in arguments.items()}
    # Permission to use the key through a service does not include direct use.
    assert is_denied(aws("kms", credentials=allowed).generate_data_key, KeyId=key, KeySpec="AES_256")
    getattr(aws(service, credentials=allowed), operation)(**named)
    return is_denied(getattr(aws(service, credentials=denied), operation), **named)


def test_presigned_url_uses_the_key_of_its_region(patched: Aws, unpatched: Aws) -> None:
    def statuses(aws: Aws) -> list[int]:
        name, _, *sessions = encrypted_stores(aws, WEST)
        signers = [aws("s3", WEST, session, Config(signature_version="s3v4")) for session in sessions]
        there = {"Bucket": name, "Key": "there"}
        return [aws.get(signer.generate_presigned_url("get_object", Params=there)).status_code for signer in signers]

    assert statuses(patched) == [200, 403]
    assert statuses(unpatched) == [200, 200]


def test_multi_region_key_creates_equal_macs_only_for_its_role(patched: Aws) -> None:
    suffix = uuid.uuid4().hex
    named, other = (patched.role(f"{name}-{suffix}") for name in ("named", "other"))
    administration = allow("kms:Create*", "kms:Put*", "kms:ReplicateKey", **ROOT)
    policy = document(administration, allow("kms:GenerateMac", Principal={"AWS": named}))
    key = patched("kms").create_key(
        KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC", MultiRegion=True, Policy=policy
    )["KeyMetadata"]["KeyId"]
    patched("kms").replicate_key(KeyId=key, ReplicaRegion=WEST, Policy=policy)
    request = {"KeyId": f"alias/{suffix}", "MacAlgorithm": "HMAC_SHA_256", "Message": b"label"}
    macs = set()
    for region in (EAST, WEST):
        patched("kms", region).create_alias(AliasName=f"alias/{suffix}", TargetKeyId=key)
        allowed, denied = (patched("kms", region, patched.session(role)) for role in (named, other))
        macs.add(allowed.generate_mac(**request)["Mac"])
        assert is_denied(denied.generate_mac, **request)
    assert len(macs) == 1
