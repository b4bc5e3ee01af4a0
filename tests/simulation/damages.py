"""Defects that are put into the application on purpose, to prove that the checks find them."""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest

from patient_api import clock
from patient_api.audit.trail import AuditTrail
from patient_api.aws import translated
from patient_api.clock import Clock, Measurement, Stamp
from patient_api.contract.audit import Outcome
from patient_api.contract.keys import USED_KEY
from patient_api.contract.keys import key as item_key
from patient_api.errors import StorageFault, WrongClock
from patient_api.http.named_versions import Arrivals, NamedVersions
from patient_api.http.preconditions import Preconditions
from patient_api.patients.service import Patients
from patient_api.store import reconciliation, versions
from patient_api.store.reconciliation import Link, Reconciler
from patient_api.store.stream import StreamProcessor
from patient_api.store.versions import VersionStore
from unit.patient_api.fakes.aws import PEER

Damage = Callable[[pytest.MonkeyPatch], None]


def _head_without_a_condition(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(versions, "_head_is", lambda _stamp: {})


def _acknowledged_without_writing(patch: pytest.MonkeyPatch) -> None:
    real = VersionStore._transact

    def transact(self: VersionStore, puts: Any, **options: Any) -> None:
        try:
            real(self, puts, **options)
        except StorageFault:
            return

    patch.setattr(VersionStore, "_transact", transact)


def _replaced_version_ignored(patch: pytest.MonkeyPatch) -> None:
    real = Link.of.__func__  # type: ignore[attr-defined] # a class method

    def of(item: Any) -> Link:
        link: Link = real(Link, item)
        return replace(link, follows=(reconciliation.ORIGIN,))

    patch.setattr(Link, "of", of)


def _head_of_the_peer_not_followed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reconciler, "_advance_head", lambda _self, _newest: None)


def _head_moves_backwards(patch: pytest.MonkeyPatch) -> None:
    real = Reconciler._put

    def put(self: Reconciler, item: Any, condition: Any) -> bool:
        return real(self, item, {} if item["sk"]["S"].startswith("head#") else condition)

    patch.setattr(Reconciler, "_put", put)


def _merges_not_kept(patch: pytest.MonkeyPatch) -> None:
    real = Patients.write

    def write(self: Patients, *arguments: Any) -> Any:
        return real(self, *arguments[:5])

    patch.setattr(Patients, "write", write)


def _stream_failures_dropped(patch: pytest.MonkeyPatch) -> None:
    real = StreamProcessor.__call__

    def process(self: StreamProcessor, event: Any) -> Any:
        real(self, event)
        return {"batchItemFailures": []}

    patch.setattr(StreamProcessor, "__call__", process)


def _index_not_updated(patch: pytest.MonkeyPatch) -> None:
    real = VersionStore.replace

    def replacing(self: VersionStore, version: Any, event: Any, *, tokens: Any = (), items: Any = ()) -> None:
        real(self, version, event, items=items)

    patch.setattr(VersionStore, "replace", replacing)


def _event_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    real = VersionStore._transact

    def transact(self: VersionStore, puts: Any, **options: Any) -> None:
        real(self, puts[:-1], **options)
        with translated("PutItem"):
            self.client.put_item(**puts[-1])

    patch.setattr(VersionStore, "_transact", transact)


def _refusals_not_audited(patch: pytest.MonkeyPatch) -> None:
    real = AuditTrail.put

    def put(self: AuditTrail, event: Any) -> None:
        if event.outcome != "refused":
            real(self, event)

    patch.setattr(AuditTrail, "put", put)


def _preconditions_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Preconditions, "allow_change_of", lambda _self, _current: True)
    patch.setattr(Preconditions, "version", property(lambda _self: None))


def _final_without_the_peer(patch: pytest.MonkeyPatch) -> None:
    from patient_api.documents.confirmation import Confirmation, PeerObject

    def peer_object(_self: Confirmation, document: Any, stored: Any, _since: Any, _call: Any) -> Any:
        return PeerObject(stored.version), document

    patch.setattr(Confirmation, "_peer_object", peer_object)


def _other_bytes_verified(patch: pytest.MonkeyPatch) -> None:
    from patient_api.documents.storage import StoredObject

    patch.setattr(StoredObject, "matches", lambda _self, _declared: True)


def _rejected_bytes_not_tagged(patch: pytest.MonkeyPatch) -> None:
    from patient_api.documents.storage import DocumentBucket

    patch.setattr(DocumentBucket, "quarantine", lambda _self, _key, _stored: None)


def _key_answers_for_other_requests(patch: pytest.MonkeyPatch) -> None:
    from patient_api.documents.repository import DocumentRepository, UsedKey

    patch.setattr(DocumentRepository, "used_with", lambda _self, _key: None)
    patch.setattr(UsedKey, "put", property(lambda self: {"Item": item_key(self.key.partition, USED_KEY)}))


def _refusals_audited_as_successes(patch: pytest.MonkeyPatch) -> None:
    real = AuditTrail.put

    def put(self: AuditTrail, event: Any) -> None:
        real(self, replace(event, outcome=Outcome.SUCCESS))

    patch.setattr(AuditTrail, "put", put)


def _documents_not_swept(patch: pytest.MonkeyPatch) -> None:
    from patient_api.documents.repository import DocumentRepository

    patch.setattr(DocumentRepository, "listed", lambda _self, _listing, **_: {})


def _stamp_before_the_replaced_version(patch: pytest.MonkeyPatch) -> None:
    real = Clock.next

    def behind(self: Clock, **_: Any) -> Stamp:
        # A difference of the clocks that no function refuses.
        stamp = real(self)
        return replace(stamp, millis=stamp.millis - 4000) if stamp.region == PEER else stamp

    patch.setattr(Clock, "next", behind)


def _version_on_its_way_refused(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NamedVersions, "refusal", lambda _self, *_: None)
    patch.setattr(Arrivals, "missing", lambda _self, _key, _stamp, otherwise: otherwise)


def version_awaited_for_ever(patch: pytest.MonkeyPatch) -> None:
    """Take every absent version of the other region for one on its way, however long ago it was written."""
    patch.setattr(Arrivals, "_complete_ms", lambda _self: 0)


def _sibling_satisfies_minimum_version(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(VersionStore, "is_followed", lambda _self, _key, _stamp, **_: True)


def _clock_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Measurement, "ahead", lambda _self, _now: 0.0)


def _jump_of_the_clock_not_noticed(patch: pytest.MonkeyPatch) -> None:
    real = Measurement.ahead
    patch.setattr(Measurement, "ahead", lambda self, _now: real(self, self.received))


def _equal_siblings_conflict(patch: pytest.MonkeyPatch) -> None:
    real = reconciliation.lineage_of
    patch.setattr(reconciliation, "lineage_of", lambda links: real(replace(link, digest=link.stamp) for link in links))


DAMAGES: Final[dict[str, Damage]] = {
    name.removeprefix("_"): damage
    for name, damage in list(globals().items())
    if name.startswith("_") and callable(damage) and getattr(damage, "__module__", "") == __name__
}

# Without a wrong clock that is not noticed, no seed has versions from the future: a scenario finds these defects.


def future_not_followed(patch: pytest.MonkeyPatch) -> None:
    """Refuse to follow a version from the future."""
    real = clock._following

    def following(last: tuple[int, int], now: int) -> tuple[int, int]:
        if last[0] - now > clock.FUTURE_MS:
            raise WrongClock(ahead_ms=last[0] - now)
        return real(last, now)

    patch.setattr(clock, "_following", following)


def clock_that_ran_ahead_not_reset(patch: pytest.MonkeyPatch) -> None:
    """Let a container whose clock ran ahead continue from where it was."""
    real = Clock.__init__

    def begin(self: Clock, **arguments: Any) -> None:
        real(self, **arguments)
        self._future_ms = sys.maxsize

    patch.setattr(Clock, "__init__", begin)
