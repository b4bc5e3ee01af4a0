"""Create AWS clients, and convert exceptions of botocore into StorageFault.

Each container has one botocore session, and creates each client on first use.

boto3's own layer over botocore adds resources and transfers, which the API does not use and which each cold start would
load. `create_client` returns the same client.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import botocore.session
from botocore.config import Config
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError
from botocore.loaders import Loader

from patient_api.errors import StorageFault

if TYPE_CHECKING:
    from patient_api.clock import CheckedTime, Reading


class DynamoDB(Protocol):
    """The DynamoDB calls that the API uses. It has no permission to update, delete or scan."""

    def get_item(self, **request: Any) -> dict[str, Any]: ...
    def batch_get_item(self, **request: Any) -> dict[str, Any]: ...
    def query(self, **request: Any) -> dict[str, Any]: ...
    def put_item(self, **request: Any) -> dict[str, Any]: ...
    def transact_write_items(self, **request: Any) -> dict[str, Any]: ...


class DatedDynamoDB:
    """A DynamoDB client whose responses measure the time of `time`, those with an error included.

    A request that botocore repeated measures less exactly, because it takes longer.
    """

    def __init__(self, client: DynamoDB, time: "CheckedTime") -> None:
        self._client = client
        self._time = time

    def get_item(self, **request: Any) -> dict[str, Any]:
        return self._sent(self._client.get_item, request)

    def batch_get_item(self, **request: Any) -> dict[str, Any]:
        return self._sent(self._client.batch_get_item, request)

    def query(self, **request: Any) -> dict[str, Any]:
        return self._sent(self._client.query, request)

    def put_item(self, **request: Any) -> dict[str, Any]:
        return self._sent(self._client.put_item, request)

    def transact_write_items(self, **request: Any) -> dict[str, Any]:
        return self._sent(self._client.transact_write_items, request)

    def _sent(self, operation: Callable[..., dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
        sent = self._time.read()
        try:
            response = operation(**request)
        except ClientError as error:
            self._measure(error.response, sent)
            raise
        self._measure(response, sent)
        return response

    def _measure(self, response: Mapping[str, Any], sent: "Reading") -> None:
        date = date_of(response)
        if date is not None:
            self._time.measured(date, sent)


def date_of(response: Mapping[str, Any]) -> str | None:
    """Return the `Date` of a response, by the clock of the service; None when it sent none."""
    date: str | None = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return date


class S3(Protocol):
    """The S3 calls that the functions use. None deletes."""

    def head_bucket(self, **request: Any) -> dict[str, Any]: ...
    def head_object(self, **request: Any) -> dict[str, Any]: ...
    def get_object(self, **request: Any) -> dict[str, Any]: ...
    def put_object(self, **request: Any) -> dict[str, Any]: ...
    def put_object_tagging(self, **request: Any) -> dict[str, Any]: ...
    def create_multipart_upload(self, **request: Any) -> dict[str, Any]: ...
    def upload_part(self, **request: Any) -> dict[str, Any]: ...
    def list_parts(self, **request: Any) -> dict[str, Any]: ...
    def complete_multipart_upload(self, **request: Any) -> dict[str, Any]: ...
    def abort_multipart_upload(self, **request: Any) -> dict[str, Any]: ...
    def generate_presigned_url(self, operation: str, **request: Any) -> str: ...


class KMS(Protocol):
    """The KMS calls that the API uses."""

    def generate_data_key_without_plaintext(self, **request: Any) -> dict[str, Any]: ...
    def generate_mac(self, **request: Any) -> dict[str, Any]: ...


class SSM(Protocol):
    """The Systems Manager call that the relay uses."""

    def get_parameter(self, **request: Any) -> dict[str, Any]: ...


# Seconds. At worst a call takes three times two seconds and some backoff: inside the function's 30, even twice over.
# A request whose connection was closed is repeated once more, whatever the number of attempts: `_reconnect`.
_STORE: Final = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 3})
_PROBE: Final = Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})


def _objects(**limits: Any) -> Config:
    """Return a configuration whose presigned URLs name the region's own endpoint, without default checksums."""
    return Config(
        signature_version="s3v4",
        # Otherwise botocore signs for S3's global endpoint, which redirects requests for new buckets elsewhere.
        s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **limits,
    )


# For requests that a client waits for: while S3 hangs in one region, time must be left for the other one.
INTERACTIVE: Final = _objects(connect_timeout=1, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 1})
# For the function that copies documents, which no client waits for.
BACKGROUND: Final = _objects(connect_timeout=2, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})


class _KnownServices(Loader):  # type: ignore[misc]  # botocore ships no types
    """Lists the five services that are used, so that a cold start does not search the folders of all 400."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's own signature
        return ["dynamodb", "kms", "s3", "ssm", "sts"]


class AssumedRole:
    """Credentials of a role that is assumed on first use and again before they expire.

    botocore renews them 15 minutes before expiry, so URLs signed with them stay valid for at least ten minutes.
    """

    def __init__(self, *, sts: Callable[[], Any], role: str) -> None:
        self._sts = sts
        self._role = role

    def load_credentials(self) -> DeferredRefreshableCredentials:
        """Return the credentials; botocore calls this."""
        return DeferredRefreshableCredentials(refresh_using=self._assume, method="assume-role")

    def _assume(self) -> dict[str, str]:
        response = self._sts().assume_role(RoleArn=self._role, RoleSessionName="healthcare-dr-documents")
        credentials = response["Credentials"]
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }


class Clients:
    """The AWS clients of one region, created on first use. `objects` is the configuration for S3. Thread-safe."""

    def __init__(self, *, region: str, objects: Config = INTERACTIVE) -> None:
        self._region = region
        self._objects = objects
        self._session = _session()
        self._created: dict[tuple[str, ...], Any] = {}
        self._lock = RLock()

    def dynamodb(self) -> DynamoDB:
        """Return the client for both tables."""
        return cast("DynamoDB", self._client("dynamodb", _STORE))

    def s3(self) -> S3:
        """Return the client for the health probe, which retries closed connections only."""
        return cast("S3", self._client("s3", _PROBE))

    def documents(self) -> S3:
        """Return the client for this region's documents."""
        return cast("S3", self._client("s3", self._objects, "documents"))

    def documents_of(self, *, region: str, role: str) -> S3:
        """Return the client for another region's documents, with the credentials of `role`."""
        with self._lock:
            name = ("s3", region, role)
            if name not in self._created:
                session = _session()
                session.register_component("credential_provider", AssumedRole(sts=self._sts, role=role))
                self._created[name] = session.create_client("s3", region_name=region, config=self._objects)
            return cast("S3", self._created[name])

    def kms(self) -> KMS:
        """Return the client for the health probe, which retries closed connections only."""
        return cast("KMS", self._client("kms", _PROBE))

    def macs(self) -> KMS:
        """Return the client that derives secrets, which retries."""
        return cast("KMS", self._client("kms", _STORE, "macs"))

    def parameters(self) -> SSM:
        """Return the client that reads encrypted parameters."""
        return cast("SSM", self._client("ssm", _STORE))

    def _sts(self) -> Any:
        # The region's own endpoint, because the peer region may be unreachable.
        return self._client("sts", _STORE)

    def _client(self, service: str, config: Config, *purpose: str) -> object:
        with self._lock:
            name = (service, *purpose)
            if name not in self._created:
                create: Callable[..., object] = self._session.create_client
                self._created[name] = create(service, region_name=self._region, config=config)
            return self._created[name]


def _session() -> Any:
    session = botocore.session.get_session()
    session.register_component("data_loader", _KnownServices())
    # Older versions of botocore send requests for credentials of every region to us-east-1.
    session.set_config_variable("sts_regional_endpoints", "regional")
    # botocore calls the handler of the more specific event first, and the first delay counts: no backoff.
    session.register("needs-retry.*.*", _reconnect)
    return session


def _reconnect(*, attempts: int, caught_exception: Exception | None, endpoint: Any, **_: object) -> float | None:
    """Return a delay of 0 for the first attempt of a request if its connection was closed, so that botocore repeats it.

    Lambda freezes a container between requests, during which servers close idle connections. The first request on such
    a connection fails although the service is available. botocore's own retries would wait up to a second, of the
    1.3 seconds that a health probe has, and clients that make a single attempt have none.
    """
    if attempts > 1 or not isinstance(caught_exception, ConnectionClosedError):
        return None
    # Other connections that are as old would fail in the same way.
    endpoint.http_session.close()
    return 0.0


THROTTLES: Final = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
    }
)
_SERVER_ERROR: Final = 500


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Raise StorageFault for exceptions of botocore. Only error codes are kept: messages of AWS may quote data."""
    try:
        yield
    except ClientError as error:
        raise fault_of(error, operation) from error
    except BotoCoreError as error:
        raise StorageFault(operation=operation, code=type(error).__name__, unreachable=True) from error


def fault_of(error: ClientError, operation: str) -> StorageFault:
    """Return the fault for an error response. DynamoDB and S3 report KMS errors in the message only."""
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "Unknown")), str(details.get("Message", ""))
    return StorageFault(
        operation=operation,
        code=code,
        throttled=code in THROTTLES,
        of_key="kms" in f"{code} {message}".lower(),
        unreachable=error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= _SERVER_ERROR,
    )
