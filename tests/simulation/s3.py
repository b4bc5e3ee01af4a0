"""The document bucket of one region, with replication to the other one and event notifications.

What AWS documents, and what the simulation does accordingly:

- A request with `If-None-Match: *` succeeds only if the key has no object
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). This is a condition on this bucket.
- Replication is asynchronous, and keeps version ids, times and tags of the versions; with replica modification sync,
  later changes of tags replicate in both directions
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-what-is-isnt-replicated.html,
  https://docs.aws.amazon.com/AmazonS3/latest/userguide/replication-for-metadata-changes.html).
- Event notifications are delivered at least once and in no order, usually in seconds
  (https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventNotifications.html).
- Reads are strongly consistent (https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from simulation.scheduler import Scheduler
from unit.patient_api.fakes.aws import client_error
from unit.patient_api.fakes.s3 import FakeS3, Stored, Time


class ServiceTime(Time):
    """The time of S3, on the simulated clock."""

    def __init__(self, scheduler: Scheduler, now: Callable[[], datetime]) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._now = now

    def now(self) -> datetime:
        return self._now()

    def sleep(self, seconds: float) -> None:
        self._scheduler.sleep(seconds)


@dataclass(frozen=True)
class Address:
    """A signed address: the request that it stands for, and when it expires."""

    region: str
    operation: str
    request: dict[str, Any]
    expires: datetime


class SimulatedBucket(FakeS3):
    """The bucket of `region`.

    `send` receives each new version and each change of tags, to replicate it; `notify` receives the key of each new
    object. `addresses` has the signed addresses of both regions.
    """

    def __init__(
        self,
        *,
        region: str,
        time: ServiceTime,
        send: Callable[[str, Stored], None],
        notify: Callable[[str], None],
        addresses: dict[str, Address],
    ) -> None:
        super().__init__(region, time)
        self.region = region
        self._send = send
        self._notify = notify
        self._addresses = addresses

    def _placed(self, key: str, stored: Stored) -> None:
        self._send(key, stored)
        self._notify(key)

    def receive(self, key: str, stored: Stored) -> None:
        """Add a version from the other region, or its tags."""
        known = next((one for one in self.objects.get(key, ()) if one.version == stored.version), None)
        if known is not None:
            known.tags |= stored.tags
            return
        self.objects.setdefault(key, []).append(replace(stored, tags=dict(stored.tags)))
        self._notify(key)

    def put_object_tagging(self, **request: Any) -> dict[str, Any]:
        response = super().put_object_tagging(**request)
        stored = self._find("put_object_tagging", request)
        self._send(request["Key"], stored)
        return response

    def generate_presigned_url(self, operation: str, **request: Any) -> str:
        url = f"https://documents.s3.{self.region}.example/{operation}/{len(self._addresses)}"
        self._addresses[url] = Address(self.region, operation, request["Params"], self._expiry(request["ExpiresIn"]))
        return url

    def use(self, address: Address, body: bytes = b"") -> bytes:
        """Perform the request of a signed address as S3 would, and return the body of the response."""
        if self._time.now() > address.expires:
            raise client_error("AccessDenied", status=403)
        request = address.request
        if "ContentLength" in request and request["ContentLength"] != len(body):
            raise client_error("SignatureDoesNotMatch", status=403)
        if address.operation == "put_object":
            self.put_object(**{name: value for name, value in request.items() if name not in _ENCRYPTION}, Body=body)
            return b""
        if address.operation == "upload_part":
            self._upload(request)["parts"][request["PartNumber"]] = body
            return b""
        stored = self._find("get_object", request)
        if stored.tags.get("quarantine") == "true":
            raise client_error("AccessDenied", status=403)
        return stored.content

    def _expiry(self, seconds: int) -> datetime:
        return self._time.now() + timedelta(seconds=seconds)


_ENCRYPTION = {"ServerSideEncryption", "SSEKMSKeyId", "ContentLength"}
