"""A fake of one region's bucket, and a clock that advances only while code waits or sends bytes."""

import base64
import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from botocore.exceptions import ConnectTimeoutError

from patient_api.documents.storage import PART_SIZE
from unit.patient_api.fakes.aws import client_error

START = datetime(2027, 1, 15, 8, 0, tzinfo=UTC)
BYTES_PER_SECOND = 20_000_000


def sha256(content: bytes) -> str:
    """Return a SHA-256 as S3 writes it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


class Time:
    """A clock that advances only by `sleep`. `at` schedules an action."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._plans: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def monotonic(self) -> float:
        return self.elapsed

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self._plans.append((seconds, action))

    def sleep(self, seconds: float) -> None:
        until = self.elapsed + seconds
        for plan in sorted(self._plans, key=lambda plan: plan[0]):
            if plan[0] <= until:
                self._plans.remove(plan)
                self.elapsed = plan[0]
                plan[1]()
        self.elapsed = until


@dataclass
class Stored:
    """One version of an object. `checksum` is the SHA-256 that S3 returns."""

    version: str
    content: bytes
    checksum: str | None
    modified: datetime
    content_type: str = ""
    tags: dict[str, str] = field(default_factory=dict)


class Body:
    """A stream that returns fewer bytes than requested, and cannot be read as a whole."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def read(self, size: int) -> bytes:
        assert 0 < size <= PART_SIZE
        return self._stream.read(max(1, size // 2))

    def close(self) -> None:
        self._stream.close()


class FakeS3:
    """One region's bucket. `down` makes it unreachable; `calls` counts operations by name."""

    def __init__(self, region: str, time: Time) -> None:
        self.objects: dict[str, list[Stored]] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.down = False
        self.before: Callable[[str], None] = lambda _operation: None
        self._time = time
        self._ids = (f"{region}-{number}" for number in count(1))

    def place(self, key: str, content: bytes, *, checksum: str | None = "", version: str | None = None) -> Stored:
        """Add an object. With `checksum=None` S3 has no checksum of the whole object."""
        checksum = sha256(content) if checksum == "" else checksum
        stored = Stored(version or next(self._ids), content, checksum, self._time.now())
        self.objects.setdefault(key, []).append(stored)
        self._placed(key, stored)
        return stored

    def _placed(self, key: str, stored: Stored) -> None:
        """Do nothing after an object was created here: replication takes place by hand."""

    def head_bucket(self, **request: Any) -> dict[str, Any]:
        self._enter("head_bucket")
        return {}

    def head_object(self, **request: Any) -> dict[str, Any]:
        assert request["ChecksumMode"] == "ENABLED"
        stored = self._find("head_object", request)
        checksum = {} if stored.checksum is None else {"ChecksumSHA256": stored.checksum}
        return {
            "ContentLength": len(stored.content),
            "VersionId": stored.version,
            "LastModified": stored.modified,
            **checksum,
        }

    def restricted(self) -> "RestrictedS3":
        """Return the bucket as a principal sees it that the bucket's policy denies quarantined objects."""
        return RestrictedS3(self)

    def get_object(self, **request: Any) -> dict[str, Any]:
        return {"Body": Body(self._find("get_object", request).content)}

    def put_object(self, **request: Any) -> dict[str, Any]:
        self._enter("put_object")
        assert "ServerSideEncryption" not in request
        self._time.sleep(len(request["Body"]) / BYTES_PER_SECOND)
        self._refuse_present(request)
        if sha256(request["Body"]) != request["ChecksumSHA256"]:
            raise client_error("BadDigest")
        stored = self.place(request["Key"], request["Body"])
        stored.content_type = request["ContentType"]
        return {"VersionId": stored.version}

    def put_object_tagging(self, **request: Any) -> dict[str, Any]:
        tags = {tag["Key"]: tag["Value"] for tag in request["Tagging"]["TagSet"]}
        self._find("put_object_tagging", request).tags = tags
        return {}

    def create_multipart_upload(self, **request: Any) -> dict[str, Any]:
        self._enter("create_multipart_upload")
        upload = next(self._ids)
        self.uploads[upload] = {"request": request, "parts": {}}
        return {"UploadId": upload}

    def upload_part(self, **request: Any) -> dict[str, Any]:
        self._enter("upload_part")
        self._time.sleep(len(request["Body"]) / BYTES_PER_SECOND)
        assert request["ChecksumSHA256"] == sha256(request["Body"])
        self.uploads[request["UploadId"]]["parts"][request["PartNumber"]] = request["Body"]
        return {"ETag": f"etag-{request['PartNumber']}"}

    def list_parts(self, **request: Any) -> dict[str, Any]:
        self._enter("list_parts")
        parts = self._upload(request)["parts"]
        listed = [
            {"PartNumber": number, "Size": len(content), "ETag": f"etag-{number}"} for number, content in parts.items()
        ]
        return {"Parts": listed}

    def complete_multipart_upload(self, **request: Any) -> dict[str, Any]:
        self._enter("complete_multipart_upload")
        upload = self._upload(request)
        self._refuse_present(request)
        named = [part["PartNumber"] for part in request["MultipartUpload"]["Parts"]]
        content = b"".join(upload["parts"][number] for number in named)
        # S3 returns a hash of the hashes of the parts, if any.
        checksum = f"{sha256(content)}-{len(named)}" if upload["request"].get("ChecksumAlgorithm") else None
        stored = self.place(request["Key"], content, checksum=checksum)
        del self.uploads[request["UploadId"]]
        return {"VersionId": stored.version}

    def abort_multipart_upload(self, **request: Any) -> dict[str, Any]:
        self._enter("abort_multipart_upload")
        self.uploads.pop(request["UploadId"], None)
        return {}

    def generate_presigned_url(self, operation: str, **request: Any) -> str:
        arguments = ",".join(f"{name}={value}" for name, value in sorted(request["Params"].items()))
        return f"https://s3.example/{operation}?{arguments}&expires={request['ExpiresIn']}"

    def _enter(self, operation: str) -> None:
        self.calls.append(operation)
        self.before(operation)
        if self.down:
            raise ConnectTimeoutError(endpoint_url="https://s3.example")

    def _find(self, operation: str, request: Mapping[str, Any]) -> Stored:
        self._enter(operation)
        return self.found(request)

    def found(self, request: Mapping[str, Any]) -> Stored:
        """Return the version of an object that a request names."""
        wanted = request.get("VersionId")
        for stored in reversed(self.objects.get(request["Key"], [])):
            if wanted in {None, stored.version}:
                return stored
        raise client_error("404", status=404)

    def _upload(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if request["UploadId"] not in self.uploads:
            raise client_error("NoSuchUpload", status=404)
        return self.uploads[request["UploadId"]]

    def _refuse_present(self, request: Mapping[str, Any]) -> None:
        if request.get("IfNoneMatch") == "*" and request["Key"] in self.objects:
            raise client_error("PreconditionFailed", status=412)


class RestrictedS3:
    """A bucket for the roles `patient-api` and `documents-peer`, which its policy denies quarantined objects."""

    def __init__(self, bucket: FakeS3) -> None:
        self._bucket = bucket

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def head_object(self, **request: Any) -> dict[str, Any]:
        answer = self._bucket.head_object(**request)
        # The response to a HEAD request has no body, so botocore uses its status as the code.
        self._refuse_quarantined(request, "403")
        return answer

    def get_object(self, **request: Any) -> dict[str, Any]:
        answer = self._bucket.get_object(**request)
        self._refuse_quarantined(request, "AccessDenied")
        return answer

    def _refuse_quarantined(self, request: Mapping[str, Any], code: str) -> None:
        if self._bucket.found(request).tags.get("quarantine") == "true":
            raise client_error(code, status=403)
