"""The collaborators that the services of one region share."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from patient_api.clock import Clock
from patient_api.http.authorization import Authorization
from patient_api.http.named_versions import Arrivals
from patient_api.http.payload import Resource
from patient_api.store.model import Token, Version
from patient_api.store.versions import VersionStore


@dataclass(frozen=True)
class ServiceContext:
    """The collaborators of services.

    Attributes:
        tokens: returns the index tokens of a tenant's resource.
        blind: returns a pseudonym, as `Secrets.blind`.
        new_id: returns a unique id.
    """

    records: VersionStore
    authorization: Authorization
    clock: Clock
    arrivals: Arrivals
    tokens: Callable[[str, Resource], Collection[Token]]
    blind: Callable[..., str]
    new_id: Callable[[], str]


@dataclass(frozen=True)
class Created:
    """The result of a creation. `fresh` is False for a record that existed before."""

    version: Version
    fresh: bool = True
