"""The collaborators and helpers that the services of one region share."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from patient_api.clock import Clock, Stamp
from patient_api.errors import Malformed
from patient_api.http.authorization import Authorization
from patient_api.http.payload import Resource
from patient_api.http.preconditions import named
from patient_api.http.request import Request
from patient_api.store.model import Token, Version

RETRY_SECONDS: Final = "1"
BUSY: Final = "A concurrent write of the record is in progress."
NOT_YET: Final = "This region has not yet received the version in Minimum-Version."


@dataclass(frozen=True)
class ServiceContext:
    """What services share. `tokens` returns the search tokens of a tenant's resource."""

    authorization: Authorization
    clock: Clock
    tokens: Callable[[str, Resource], Collection[Token]]


@dataclass(frozen=True)
class Created:
    """The result of a creation. `fresh` is False for a record that existed before."""

    version: Version
    fresh: bool = True


def minimum_version(request: Request) -> Stamp | None:
    """Return the version in Minimum-Version; the response must not be older. None without it. Raises Malformed."""
    header = request.headers.get("minimum-version")
    if header is None:
        return None
    stamp = Stamp.parse(named(header, "Minimum-Version"))
    if stamp is None:
        raise Malformed("Minimum-Version is not a version of this server.")
    return stamp
