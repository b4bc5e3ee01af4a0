"""Tests of the features of S3 that the functions use, with and without patches."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.config import Config

from unit.emulator.aws import Aws, allow, document, error_code, is_denied, only_when_patched

KEY = "documents/clinic/1"
CONTENT = b"a document"
PART_BYTES = 5 * 1024 * 1024
SSE_KEY = "x-amz-server-side-encryption-aws-kms-key-id"


def digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@dataclass(frozen=True)
class Store:
    """A bucket and a key, and its clients: root, and a role that may write and read but not list."""

    aws: Aws
    bucket: str
    key: str
    root: Any
    role: Any

    def presigned(self, operation: str, **parameters: Any) -> str:
        """Return a presigned URL of the role for one document."""
        parameters = {"Bucket": self.bucket, "Key": KEY, **parameters}
        return str(self.role.generate_presigned_url(operation, Params=parameters))

    def send(self, address: str, headers: Mapping[str, str], content: bytes = CONTENT) -> httpx.Response:
        """Send content to a presigned URL without credentials."""
        with self.aws.web() as web:
            return web.put(address, headers=headers, content=content)


def store_of(aws: Aws) -> Store:
    name, root = aws.bucket(versioned=True), aws("s3")
    key = aws("kms").create_key()["KeyMetadata"]["Arn"]
    actions = ("s3:PutObject", "s3:GetObject", "s3:PutObjectTagging", "kms:Decrypt", "kms:GenerateDataKey")
    # By default, URLs of us-east-1 have version 2 signatures, which omit most headers.
    role = aws("s3", credentials=aws.session(aws.role(name, allow(*actions))), config=Config(signature_version="s3v4"))
    return Store(aws=aws, bucket=name, key=key, root=root, role=role)


@pytest.fixture
def store(patched: Aws) -> Store:
    return store_of(patched)


@only_when_patched
def test_unsigned_header_is_rejected(aws: Aws) -> bool:
    store = store_of(aws)
    return store.send(store.presigned("put_object"), {"x-amz-tagging": "state=confirmed"}).status_code == 403


@pytest.mark.parametrize(("operation", "expected"), [("head_object", "403"), ("get_object", "AccessDenied")])
@only_when_patched
def test_caller_without_list_permission_gets_403_for_missing_object(aws: Aws, operation: str, expected: str) -> bool:
    store = store_of(aws)
    missing = {"Bucket": store.bucket, "Key": "missing"}
    assert error_code(getattr(store.root, operation), **missing) in ("404", "NoSuchKey")
    return error_code(getattr(store.role, operation), **missing) == expected


def begin(store: Store, parts: list[bytes], **options: Any) -> dict[str, Any]:
    """Return the arguments that complete an upload whose parts were sent to presigned URLs."""
    upload: dict[str, Any] = {"Bucket": store.bucket, "Key": KEY}
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": store.key}
    created = store.role.create_multipart_upload(**upload, ChecksumAlgorithm="SHA256", **encryption, **options)
    upload["UploadId"] = created["UploadId"]
    named = []
    for number, part in enumerate(parts, start=1):
        checksum = digest(part)
        signed: dict[str, Any] = {"PartNumber": number, "ContentLength": len(part), "ChecksumSHA256": checksum}
        address = store.presigned("upload_part", **upload, **signed)
        headers = {"x-amz-checksum-sha256": checksum}
        assert store.send(address, headers, part[:-1] + b"!").status_code == 400
        answer = store.send(address, headers, part)
        assert answer.status_code == 200
        named.append({"PartNumber": number, "ETag": answer.headers["ETag"], "ChecksumSHA256": checksum})
    return {**upload, "MultipartUpload": {"Parts": named}}


def test_multipart_upload_with_presigned_urls(store: Store) -> None:
    parts = [b"a" * PART_BYTES, b"rest"]
    upload = begin(store, parts, Metadata={"a": "b"})
    listed = store.root.list_parts(Bucket=store.bucket, Key=KEY, UploadId=upload["UploadId"])["Parts"]
    assert [(part["Size"], part["ChecksumSHA256"]) for part in listed] == [(len(part), digest(part)) for part in parts]
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    composite = f"{digest(digests)}-2"
    assert store.role.complete_multipart_upload(**upload)["ChecksumSHA256"] == composite
    found = store.role.head_object(Bucket=store.bucket, Key=KEY, ChecksumMode="ENABLED")
    assert (found["ChecksumSHA256"], found["ContentLength"], found["SSEKMSKeyId"], found["Metadata"]) == (
        composite,
        PART_BYTES + 4,
        store.key,
        {"a": "b"},
    )


@pytest.mark.parametrize(
    ("spoil", "parts", "expected"),
    [
        (lambda parts: parts.reverse(), [b"a" * PART_BYTES, b"rest"], "InvalidPartOrder"),
        (lambda parts: parts[0].pop("ChecksumSHA256"), [b"rest"], "InvalidRequest"),
        (lambda _: None, [b"small", b"rest"], "EntityTooSmall"),
    ],
    ids=["order", "checksum", "size"],
)
@only_when_patched
def test_invalid_multipart_completion_is_rejected(
    aws: Aws, spoil: Callable[[list[Any]], Any], parts: list[bytes], expected: str
) -> bool:
    store = store_of(aws)
    upload = begin(store, parts)
    spoil(upload["MultipartUpload"]["Parts"])
    return error_code(store.role.complete_multipart_upload, **upload) == expected


@only_when_patched
def test_multipart_upload_keeps_its_tags(aws: Aws) -> bool:
    store = store_of(aws)
    store.role.complete_multipart_upload(**begin(store, [b"all"], Tagging="state=new"))
    found = store.root.get_object_tagging(Bucket=store.bucket, Key=KEY)["TagSet"]
    return bool(found == [{"Key": "state", "Value": "new"}])


@only_when_patched
def test_bucket_policy_sees_the_key_of_an_upload(aws: Aws) -> bool:
    right, wrong = (aws("kms").create_key()["KeyMetadata"]["Arn"] for _ in range(2))
    bucket = aws.bucket()
    condition = {"Null": {f"s3:{SSE_KEY}": "false"}, "StringNotEquals": {f"s3:{SSE_KEY}": right}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Condition": condition}
    policy = document({**deny, "Resource": f"arn:aws:s3:::{bucket}/*"})
    aws("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
    role = aws.role(f"writer-{bucket}", allow("s3:PutObject", "kms:GenerateDataKey*"))
    s3 = aws("s3", credentials=aws.session(role))
    upload = {"Bucket": bucket, "Key": "k", "Body": b"", "ServerSideEncryption": "aws:kms"}
    s3.put_object(**upload, SSEKMSKeyId=right)
    return is_denied(s3.put_object, **upload, SSEKMSKeyId=wrong)


def test_bucket_policy_sees_the_tags_of_an_object(store: Store) -> None:
    condition = {"StringNotEquals": {"s3:ExistingObjectTag/state": "confirmed"}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Condition": condition}
    policy = document({**deny, "Resource": f"arn:aws:s3:::{store.bucket}/*"})
    store.root.put_bucket_policy(Bucket=store.bucket, Policy=policy)
    store.role.put_object(Bucket=store.bucket, Key=KEY, Body=CONTENT)
    read = {"Bucket": store.bucket, "Key": KEY}
    assert is_denied(store.role.get_object, **read)
    store.role.put_object_tagging(**read, Tagging={"TagSet": [{"Key": "state", "Value": "confirmed"}]})
    assert not is_denied(store.role.get_object, **read)


@pytest.mark.parametrize("by_version", [False, True], ids=["latest", "version"])
@only_when_patched
def test_role_can_be_limited_to_one_tag(aws: Aws, by_version: bool) -> bool:
    name = aws.bucket(versioned=True)
    target = {"Bucket": name, "Key": KEY}
    version = aws("s3").put_object(**target, Body=CONTENT)["VersionId"]
    only = {"StringEquals": {"s3:RequestObjectTag/quarantine": "true"}}
    actions = ("s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectVersionTagging")
    role = aws("s3", credentials=aws.session(aws.role(name, allow(*actions, Condition=only))))
    if by_version:
        target["VersionId"] = version
    for tags in ([], [("quarantine", "false")], [("state", "true")]):
        tagging = {"TagSet": [{"Key": key, "Value": value} for key, value in tags]}
        assert is_denied(role.put_object_tagging, **target, Tagging=tagging)
    new = {"Bucket": name, "Key": "new", "Body": b""}
    assert is_denied(role.put_object, **new)
    quarantine = {"TagSet": [{"Key": "quarantine", "Value": "true"}]}
    by_header = is_denied(role.put_object, **new, Tagging="quarantine=true")
    return not is_denied(role.put_object_tagging, **target, Tagging=quarantine) and not by_header
