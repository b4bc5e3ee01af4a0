"""Tests of the features of S3 that the functions use, with and without patches."""

import base64
import hashlib
import json
import ssl
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

Clients = Callable[..., Any]
Probe = Callable[[Clients], bool]

ROOT = {"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}
KEY = "documents/clinic/1"
CONTENT = b"a document"
PART_BYTES = 5 * 1024 * 1024
SSE_KEY = "x-amz-server-side-encryption-aws-kms-key-id"


def digest(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


def code(call: Callable[..., Any], **arguments: Any) -> str:
    """Return the error code of a call; None without an error."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@dataclass(frozen=True)
class Store:
    """A bucket under a key, for root and for a role that may write and read but not list."""

    bucket: str
    key: str
    root: Any
    role: Any
    certificate: str

    def upload(self, **options: Any) -> tuple[str, dict[str, str]]:
        """Return a presigned URL for one document, and the headers that it requires."""
        signed = {
            "ContentLength": len(CONTENT),
            "ContentType": "text/plain",
            "ChecksumSHA256": digest(CONTENT),
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": self.key,
            "IfNoneMatch": "*",
        }
        address = self.role.generate_presigned_url(
            "put_object", Params={"Bucket": self.bucket, "Key": KEY, **signed}, ExpiresIn=60, **options
        )
        headers = {
            "Content-Type": "text/plain",
            "x-amz-checksum-sha256": digest(CONTENT),
            "x-amz-server-side-encryption": "aws:kms",
            SSE_KEY: self.key,
            "If-None-Match": "*",
        }
        return address, headers

    def send(
        self, address: str, headers: Mapping[str, str] | None = None, content: bytes = CONTENT, method: str = "PUT"
    ) -> httpx.Response:
        """Send a request to a presigned URL without credentials."""
        context = ssl.create_default_context(cafile=self.certificate)
        with httpx.Client(verify=context, trust_env=False) as web:
            return web.request(method, address, headers=headers, content=content)

    def sent(self, address: str, headers: Mapping[str, str], content: bytes = CONTENT) -> int:
        return self.send(address, headers, content).status_code


@pytest.fixture(scope="module")
def store_of(make_role: Callable[..., str]) -> Callable[[Clients], Store]:
    def make(client: Clients) -> Store:
        name, root = uuid.uuid4().hex, client("s3")
        key = client("kms").create_key()["KeyMetadata"]["Arn"]
        root.create_bucket(Bucket=name)
        root.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        actions = ["s3:PutObject", "s3:GetObject", "s3:PutObjectTagging", "kms:Decrypt", "kms:GenerateDataKey"]
        writer = make_role(client, name, {"Effect": "Allow", "Action": actions, "Resource": "*"}, trust=ROOT)
        session = client("sts").assume_role(RoleArn=writer, RoleSessionName="test")["Credentials"]
        certificate = root._endpoint.http_session._verify
        # By default, URLs of us-east-1 have version 2 signatures, which omit most headers.
        role = client("s3", credentials=session, config=Config(signature_version="s3v4"))
        return Store(bucket=name, key=key, root=root, role=role, certificate=certificate)

    return make


@pytest.fixture
def store(patched: Clients, store_of: Callable[[Clients], Store]) -> Store:
    return store_of(patched)


def test_presigned_put_creates_the_object_once(store: Store) -> None:
    address, headers = store.upload()
    assert [store.sent(address, headers) for _ in range(2)] == [200, 412]
    found = store.role.head_object(Bucket=store.bucket, Key=KEY, ChecksumMode="ENABLED")
    assert (found["ChecksumSHA256"], found["ContentType"], found["SSEKMSKeyId"]) == (
        digest(CONTENT),
        "text/plain",
        store.key,
    )
    download = store.role.generate_presigned_url("get_object", Params={"Bucket": store.bucket, "Key": KEY})
    assert store.send(download, method="GET", content=b"").content == CONTENT
    other = download.replace(KEY, "documents/other/1")
    assert store.send(other, method="GET", content=b"").status_code == 403


@pytest.mark.parametrize(
    "header",
    ["Content-Type", "x-amz-checksum-sha256", "x-amz-server-side-encryption", SSE_KEY, "If-None-Match"],
)
@pytest.mark.parametrize("otherwise", [None, "other"])
def test_changed_signed_header_is_rejected(store: Store, header: str, otherwise: str | None) -> None:
    address, headers = store.upload()
    del headers[header]
    if otherwise is not None:
        headers[header] = otherwise
    assert store.sent(address, headers) == 403


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"b document", 400), (b"a longer document", 403), (b"", 403)],
    ids=["other", "longer", "none"],
)
def test_content_with_another_checksum_is_rejected(store: Store, content: bytes, status: int) -> None:
    address, headers = store.upload()
    answer = store.send(address, headers, content)
    assert answer.status_code == status
    assert ("BadDigest" in answer.text) == (status == 400)


def test_expired_presigned_url_is_rejected(store: Store) -> None:
    address = store.role.generate_presigned_url("put_object", Params={"Bucket": store.bucket, "Key": KEY}, ExpiresIn=1)
    time.sleep(2.1)
    answer = store.send(address)
    assert (answer.status_code, "Request has expired" in answer.text) == (403, True)


def test_unsigned_header_is_rejected(
    holds_only_when_patched: Callable[[Probe], None], store_of: Callable[[Clients], Store]
) -> None:
    def probe(client: Clients) -> bool:
        store = store_of(client)
        address, headers = store.upload()
        return store.sent(address, {**headers, "x-amz-tagging": "state=confirmed"}) == 403

    holds_only_when_patched(probe)


@pytest.mark.parametrize(("operation", "expected"), [("head_object", "403"), ("get_object", "AccessDenied")])
def test_caller_without_list_permission_gets_403_for_missing_object(
    holds_only_when_patched: Callable[[Probe], None],
    store_of: Callable[[Clients], Store],
    operation: str,
    expected: str,
) -> None:
    def probe(client: Clients) -> bool:
        store = store_of(client)
        missing = {"Bucket": store.bucket, "Key": "missing"}
        assert code(getattr(store.root, operation), **missing) in ("404", "NoSuchKey")
        return code(getattr(store.role, operation), **missing) == expected

    holds_only_when_patched(probe)


def begin(store: Store, parts: list[bytes], **options: Any) -> dict[str, Any]:
    """Return the arguments that complete an upload whose parts were sent to presigned URLs."""
    upload = {"Bucket": store.bucket, "Key": KEY}
    created = store.role.create_multipart_upload(
        **upload, ChecksumAlgorithm="SHA256", ServerSideEncryption="aws:kms", SSEKMSKeyId=store.key, **options
    )
    upload["UploadId"] = created["UploadId"]
    named = []
    for number, part in enumerate(parts, start=1):
        checksum = digest(part)
        address = store.role.generate_presigned_url(
            "upload_part",
            Params={**upload, "PartNumber": number, "ContentLength": len(part), "ChecksumSHA256": checksum},
        )
        headers = {"x-amz-checksum-sha256": checksum}
        assert store.sent(address, headers, part[:-1] + b"!") == 400
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
def test_invalid_multipart_completion_is_rejected(
    holds_only_when_patched: Callable[[Probe], None],
    store_of: Callable[[Clients], Store],
    spoil: Callable[[list[Any]], Any],
    parts: list[bytes],
    expected: str,
) -> None:
    def probe(client: Clients) -> bool:
        store = store_of(client)
        upload = begin(store, parts)
        spoil(upload["MultipartUpload"]["Parts"])
        return code(store.role.complete_multipart_upload, **upload) == expected

    holds_only_when_patched(probe)


def test_multipart_upload_keeps_its_tags(
    holds_only_when_patched: Callable[[Probe], None], store_of: Callable[[Clients], Store]
) -> None:
    def probe(client: Clients) -> bool:
        store = store_of(client)
        store.role.complete_multipart_upload(**begin(store, [b"all"], Tagging="state=new"))
        found = store.root.get_object_tagging(Bucket=store.bucket, Key=KEY)["TagSet"]
        return bool(found == [{"Key": "state", "Value": "new"}])

    holds_only_when_patched(probe)


def test_bucket_policy_sees_request_tags(store: Store) -> None:
    condition = {"StringNotEquals": {"s3:ExistingObjectTag/state": "confirmed"}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Condition": condition}
    policy = {"Version": "2012-10-17", "Statement": [{**deny, "Resource": f"arn:aws:s3:::{store.bucket}/*"}]}
    store.root.put_bucket_policy(Bucket=store.bucket, Policy=json.dumps(policy))
    store.role.put_object(Bucket=store.bucket, Key=KEY, Body=CONTENT)
    read = {"Bucket": store.bucket, "Key": KEY}
    assert code(store.role.get_object, **read) == "AccessDenied"
    store.role.put_object_tagging(**read, Tagging={"TagSet": [{"Key": "state", "Value": "confirmed"}]})
    assert code(store.role.get_object, **read) == ""


@pytest.mark.parametrize("by_version", [False, True], ids=["latest", "version"])
def test_role_can_be_limited_to_one_tag(
    holds_only_when_patched: Callable[[Probe], None], make_role: Callable[..., str], by_version: bool
) -> None:
    def probe(client: Clients) -> bool:
        name, root = uuid.uuid4().hex, client("s3")
        root.create_bucket(Bucket=name)
        root.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        version = root.put_object(Bucket=name, Key=KEY, Body=CONTENT)["VersionId"]
        only = {"StringEquals": {"s3:RequestObjectTag/quarantine": "true"}}
        actions = ["s3:PutObject", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"]
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*", "Condition": only}
        session = client("sts").assume_role(
            RoleArn=make_role(client, name, statement, trust=ROOT), RoleSessionName="test"
        )["Credentials"]
        role, target = client("s3", credentials=session), {"Bucket": name, "Key": KEY}
        if by_version:
            target["VersionId"] = version
        for tags in ([], [("quarantine", "false")], [("state", "true")]):
            tagging = {"TagSet": [{"Key": key, "Value": value} for key, value in tags]}
            assert code(role.put_object_tagging, **target, Tagging=tagging) == "AccessDenied"
        assert code(role.put_object, Bucket=name, Key="new", Body=b"") == "AccessDenied"
        quarantine = {"TagSet": [{"Key": "quarantine", "Value": "true"}]}
        by_header = code(role.put_object, Bucket=name, Key="new", Body=b"", Tagging="quarantine=true")
        return (code(role.put_object_tagging, **target, Tagging=quarantine), by_header) == ("", "")

    holds_only_when_patched(probe)
