"""Read, update, patch and delete patients' records, and list their versions."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final, NoReturn

from patient_api.clock import Stamp
from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.headers import ETAG
from patient_api.contract.keys import PATIENT
from patient_api.errors import (
    ApiError,
    Conflict,
    Gone,
    HeadMismatch,
    Malformed,
    NotAllowed,
    NotFound,
    PreconditionRequired,
    Stale,
    StorageFault,
    TooCostly,
    Unprocessable,
)
from patient_api.fhir.codec import parse
from patient_api.http.authorization import BUSY
from patient_api.http.criteria import count_in
from patient_api.http.named_versions import NamedVersions
from patient_api.http.paging import BundleEntry, Cursors, bundle
from patient_api.http.payload import Patch, Resource, check_size, patch_in, resource_in, valid, version_in
from patient_api.http.preconditions import STALE, Preconditions, merges_in, minimum_version, weak
from patient_api.http.request import Request
from patient_api.service_context import ServiceContext
from patient_api.store.model import Method, RecordKey, Token, Version, deletion_of, version_of

ATTEMPTS: Final = 3


class Patients:
    """Reads and changes single records by their ids.

    `Creation` creates records, and `ConditionalChanges` changes the record that search criteria match. A request that
    names a version which this region has not received raises NotYetHere (`http.named_versions`).
    """

    def __init__(self, context: ServiceContext) -> None:
        self._records = context.records
        self.arrivals = context.arrivals
        self._authorization = context.authorization
        self._clock = context.clock
        self._tokens = context.tokens

    def read(self, request: Request, id: str) -> Version:
        """Return the newest version in this region."""
        event = self._authorization.authorize(request, Action.READ, "read", PATIENT, id)
        conditions = Preconditions.of(request)
        named = NamedVersions.of(request, conditions)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        with self._authorization.auditing(event, written=True):
            found = self._records.newest(key, event)
        self.check_named(named, event, key, found, written=True)
        if found is None:
            self._refuse_after(event, NotFound("There is no such record."))
        self._clock.observe(found.stamp)
        return self._readable(found, event, conditions)

    def vread(self, request: Request, id: str, vid: str) -> Version:
        """Return one version. Raises NotFound, Gone, Stale."""
        event = self._authorization.authorize(request, Action.READ, "vread", PATIENT, id)
        conditions = Preconditions.of(request)
        stamp = Stamp.parse(vid)
        if stamp is None:
            self._authorization.refuse(event, NotFound("There is no such version."))
        key = RecordKey(request.caller.tenant, PATIENT, id)
        with self._authorization.auditing(event, written=True):
            found = self._records.version(key, stamp, event)
        if found is None:
            with self._authorization.auditing(event, written=True):
                error = self.arrivals.missing(key, stamp, NotFound("There is no such version."))
            self._refuse_after(event, error)
        return self._readable(found, event, conditions)

    def update(self, request: Request, id: str) -> Version:
        """Replace the version that the client names in If-Match, or as `meta.versionId` in the body.

        The new version resolves the conflict with the versions that the client names in Merges.
        """
        event = self._authorization.authorize(request, Action.UPDATE, "update", PATIENT, id)
        conditions = Preconditions.of(request)
        merges = merges_in(request)
        resource = resource_in(request, PATIENT, id=id)
        conditions = conditions.or_match(version_in(resource))
        named = NamedVersions.of(request, conditions)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        merged = self._merged_stamps(merges, event, key)
        if conditions.version is not None and named.minimum in (None, *named.match):
            # The store checks a single version with the write, so no read is needed before.
            return self._replace(event, key, named, resource, merged)

        def change(current: Version) -> Resource:
            if conditions.match is None:
                raise PreconditionRequired(
                    'The version to replace is missing: If-Match: W/"<version>", or meta.versionId in the body.'
                )
            if not conditions.allow_change_of(current):
                raise Stale(STALE)
            return resource

        return self._change(event, key, Method.PUT, change, named=named, missing=_not_created(), merges=merged)

    def patch(self, request: Request, id: str) -> Version:
        """Patch the current version.

        Without a precondition the patch applies to the current version, and is applied again when that changes
        concurrently.
        """
        event = self._authorization.authorize(request, Action.UPDATE, "patch", PATIENT, id)
        conditions = Preconditions.of(request)
        patch = patch_in(request)
        conditions = conditions.or_match(patch.version)
        named = NamedVersions.of(request, conditions)
        key = RecordKey(request.caller.tenant, PATIENT, id)

        def change(current: Version) -> Resource:
            return patched(current, patch, conditions)

        return self._change(event, key, Method.PATCH, change, named=named, missing=NotFound("There is no such record."))

    def delete(self, request: Request, id: str) -> Version:
        """Add a version that marks the record as deleted, unless a precondition forbids it. Idempotent.

        The new version resolves the conflict with the versions that the client names in Merges.
        """
        event = self._authorization.authorize(request, Action.DELETE, "delete", PATIENT, id)
        event = replace(event, status=HTTPStatus.NO_CONTENT)
        conditions, merged = Preconditions.of(request), merges_in(request)
        named = NamedVersions.of(request, conditions)
        any_version = conditions.match is None or conditions.match.versions is None
        key = RecordKey(request.caller.tenant, PATIENT, id)
        merges = self._merged_stamps(merged, event, key)
        for _ in range(ATTEMPTS):
            current = self._newest(event, key)
            self.check_named(named, event, key, current)
            if current is None:
                self._authorization.refuse(event, NotFound("There is no such record."))
            deleted = current.resource is None
            if not (deleted and any_version) and not conditions.allow_change_of(current):
                self._authorization.refuse(event, Stale(STALE))
            # Without its own version, a conflict that the current deletion is part of would stay open.
            if deleted and {current.stamp, current.replaces, *current.merges}.issuperset(merges):
                self._authorization.record(event)
                return current
            with contextlib.suppress(HeadMismatch):
                return self.write(event, key, current.stamp, None, Method.DELETE, merges)
        return self._authorization.refuse(event, Conflict(BUSY))

    def write(
        self,
        event: AuditEvent,
        key: RecordKey,
        known: Stamp,
        resource: Resource | None,
        method: Method,
        merges: tuple[Stamp, ...] = (),
    ) -> Version:
        """Write a version that replaces `known`; without a resource, one that marks the record as deleted.

        Raises HeadMismatch when the record is at another version. Other failures are in the audit trail.
        """
        with self._authorization.auditing(event):
            stamp = self._clock.next(after=max((known, *merges)))
        event = replace(event, version=str(stamp))
        if resource is None:
            version = deletion_of(key=key, stamp=stamp, replaces=known, merges=merges)
            tokens = frozenset[Token]()
        else:
            version = version_of(resource, key=key, stamp=stamp, method=method, replaces=known, merges=merges)
            tokens = frozenset(self._tokens(key.tenant, resource | {"resourceType": PATIENT}))
        with self._authorization.auditing(event):
            self._records.replace(version, event, tokens=tokens)
        self._clock.stored(stamp)
        return version

    def _change(
        self,
        event: AuditEvent,
        key: RecordKey,
        method: Method,
        change: Callable[[Version], Resource],
        *,
        named: NamedVersions,
        missing: ApiError,
        merges: tuple[Stamp, ...] = (),
    ) -> Version:
        """Apply `change` to the current version, at most ATTEMPTS times while concurrent writes replace it."""
        for _ in range(ATTEMPTS):
            current = self._newest(event, key)
            self.check_named(named, event, key, current)
            if current is None:
                self._authorization.refuse(event, missing)
            try:
                resource = change(current)
            except ApiError as error:
                # A refusal discloses something of the record, such as which operation of a patch fails.
                self._authorization.refuse(event, error)
            with contextlib.suppress(HeadMismatch):
                return self.write(event, key, current.stamp, resource, method, merges)
        return self._authorization.refuse(event, Conflict(BUSY))

    def _merged_stamps(self, named: tuple[str, ...], event: AuditEvent, key: RecordKey) -> tuple[Stamp, ...]:
        unknown = Unprocessable("Merges names a version that the record does not have.")
        stamps = tuple(sorted(stamp for stamp in map(Stamp.parse, named) if stamp is not None))
        if len(stamps) != len(named):
            self._authorization.refuse(event, unknown)
        for stamp in stamps:
            with self._authorization.auditing(event):
                error = None if self._records.holds(key, stamp) else self.arrivals.missing(key, stamp, unknown)
                if error is unknown and self._records.is_in_conflict(key, stamp):
                    # The version was lost with its region, and the marker of its conflict was not.
                    error = None
            if error is not None:
                self._authorization.refuse(event, error)
        return stamps

    def _replace(
        self,
        event: AuditEvent,
        key: RecordKey,
        named: NamedVersions,
        resource: Resource,
        merges: tuple[Stamp, ...],
    ) -> Version:
        if not named.match:
            self._explain_mismatch(event, key, named)
        try:
            return self.write(event, key, named.match[0], resource, Method.PUT, merges)
        except HeadMismatch:
            self._explain_mismatch(event, key, named)

    def _explain_mismatch(self, event: AuditEvent, key: RecordKey, named: NamedVersions) -> NoReturn:
        current = self._newest(event, key)
        self.check_named(named, event, key, current)
        if current is None:
            self._authorization.refuse(event, _not_created())
        if current.stamp in named.match:
            # It has arrived since the write failed.
            self._authorization.refuse(event, Conflict(BUSY))
        self._authorization.refuse(event, Stale(STALE))

    def check_named(
        self, named: NamedVersions, event: AuditEvent, key: RecordKey, current: Version | None, *, written: bool = False
    ) -> None:
        """Refuse a request about a record when this region cannot answer for the versions that it names.

        `current` is the newest version here. `written` is whether the event is already written.
        """
        with self._authorization.auditing(event, written=written):
            error = self.arrivals.refusal(named, key, current)
        if error is not None:
            self._authorization.refuse(self._authorization.amendment(event) if written else event, error)

    def _newest(self, event: AuditEvent, key: RecordKey) -> Version | None:
        with self._authorization.auditing(event):
            return self._records.newest(key)

    def _readable(self, found: Version, event: AuditEvent, conditions: Preconditions) -> Version:
        if found.resource is None:
            self._refuse_after(event, _gone(found))
        if not conditions.allow_read_of(found):
            self._refuse_after(event, Stale(STALE))
        return found

    def _refuse_after(self, event: AuditEvent, error: ApiError) -> NoReturn:
        self._authorization.refuse(self._authorization.amendment(event), error)


def patched(current: Version, patch: Patch, conditions: Preconditions) -> Resource:
    """Return the patched resource of a version. Raises Gone, Stale, Malformed, Unprocessable, TooLarge."""
    if current.resource is None:
        raise _gone(current)
    if not conditions.allow_change_of(current):
        raise Stale(STALE)
    resource = valid(patch.apply(_parse_stored(current.resource)))
    check_size(resource)
    return resource


def _not_created() -> NotAllowed:
    # R4 demands 405 from servers that assign the ids (https://hl7.org/fhir/R4/http.html#upsert).
    return NotAllowed("There is no such record, and an update does not create one: the server assigns ids.")


def _gone(version: Version) -> Gone:
    return Gone("The record was deleted.", headers={ETAG: weak(str(version.stamp))})


def _parse_stored(text: str) -> Resource:
    value = parse(text.encode())
    if not isinstance(value, dict):
        raise StorageFault(operation="Read", code="UnreadableVersion")
    return value


DEFAULT_COUNT: Final = 20
LARGEST_COUNT: Final = 50


class History:
    """Lists the versions of records."""

    def __init__(self, context: ServiceContext, *, cursors: Cursors) -> None:
        self._records = context.records
        self._authorization = context.authorization
        self._arrivals = context.arrivals
        self._cursors = cursors

    def history(self, request: Request, id: str) -> str:
        """Return a page of versions, newest first, as a Bundle of type `history`.

        Versions that both regions wrote concurrently name each other, unless they are equal.
        """
        event = self._authorization.authorize(request, Action.READ, "history-instance", PATIENT, id)
        named = NamedVersions(minimum=minimum_version(request))
        count, cursor = _page_parameters(request)
        key = RecordKey(request.caller.tenant, PATIENT, id)
        scope = (key.tenant, "history", key.reference)
        before = Stamp.parse(self._cursors.open(cursor, *scope)[0]) if cursor is not None else None
        with self._authorization.auditing(event, written=True):
            found = self._records.history(key, event, limit=count or LARGEST_COUNT, before=before)
            if count == 0 and found.more:
                raise TooCostly(f"The record has more than {LARGEST_COUNT} versions: read them page by page.")
            shown = found.versions
            concurrent = self._records.concurrent(key, shown)
            newest = next(iter(shown), None)
            if before is not None and named.minimum is not None:
                newest = self._records.newest(key)
            error = self._arrivals.refusal(named, key, newest)
        if error is not None:
            self._authorization.refuse(self._authorization.amendment(event), error)
        if not shown and before is None:
            self._authorization.refuse(self._authorization.amendment(event), NotFound("There is no such record."))
        url = f"{request.base}/{key.reference}"
        links = {"self": f"{url}/_history"}
        if count == 0:
            return bundle("history", [], links=links, total=len(shown))
        if found.more:
            sealed = self._cursors.seal(*scope, position=[str(shown[-1].stamp)])
            links["next"] = f"{url}/_history?_count={count}&_cursor={sealed}"
        entries = [BundleEntry.past(version, url=url, concurrent_with=concurrent[version.stamp]) for version in shown]
        total = len(shown) if before is None and not found.more else None
        return bundle("history", entries, links=links, total=total)


def _page_parameters(request: Request) -> tuple[int, str | None]:
    given = dict(request.parameters_of_query())
    count = count_in(given.get("_count"), default=DEFAULT_COUNT, most=LARGEST_COUNT)
    if count == 0 and "_cursor" in given:
        raise Malformed("A history without entries has no pages: omit _cursor.")
    return count, given.get("_cursor")
