"""Clients of AWS: one botocore session per container, each client made when it is first needed.

boto3's own layer over botocore adds resources and transfers, which the API does not use and each cold start would
load; `create_client` gives the very same client.
"""

from collections.abc import Callable
from threading import RLock
from typing import Any, Final, Protocol, cast

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader


class DynamoDB(Protocol):
    """What the API uses of DynamoDB. There is no update, delete or scan, and no permission for one."""

    def get_item(self, **request: Any) -> dict[str, Any]: ...
    def batch_get_item(self, **request: Any) -> dict[str, Any]: ...
    def query(self, **request: Any) -> dict[str, Any]: ...
    def put_item(self, **request: Any) -> dict[str, Any]: ...
    def transact_write_items(self, **request: Any) -> dict[str, Any]: ...


class S3(Protocol):
    """What the API uses of S3."""

    def head_bucket(self, **request: Any) -> dict[str, Any]: ...


class KMS(Protocol):
    """What the API uses of KMS."""

    def generate_data_key_without_plaintext(self, **request: Any) -> dict[str, Any]: ...
    def generate_mac(self, **request: Any) -> dict[str, Any]: ...


# Seconds. At worst a call takes three times two seconds and some backoff: inside the function's 30, even twice over.
_STORE: Final = Config(connect_timeout=1, read_timeout=2, retries={"mode": "standard", "total_max_attempts": 3})
_PROBE: Final = Config(connect_timeout=1, read_timeout=1, retries={"mode": "standard", "total_max_attempts": 1})


class _KnownServices(Loader):  # type: ignore[misc]  # botocore ships no types
    """Spares each cold start a look into the folders of all 400 services, of which the API uses three."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's own signature
        return ["dynamodb", "kms", "s3"]


class Clients:
    """The clients of one region. Safe to ask from several threads."""

    def __init__(self, *, region: str) -> None:
        self._region = region
        self._session = botocore.session.get_session()
        self._session.register_component("data_loader", _KnownServices())
        self._made: dict[str, Any] = {}
        self._lock = RLock()

    def dynamodb(self) -> DynamoDB:
        """For records and audit."""
        return cast("DynamoDB", self._client("dynamodb", _STORE))

    def s3(self) -> S3:
        """For the health probe."""
        return cast("S3", self._client("s3", _PROBE))

    def kms(self) -> KMS:
        """For the health probe."""
        return cast("KMS", self._client("kms", _PROBE))

    def _client(self, service: str, config: Config) -> object:
        with self._lock:
            if service not in self._made:
                create: Callable[..., object] = self._session.create_client
                self._made[service] = create(service, region_name=self._region, config=config)
            return self._made[service]
