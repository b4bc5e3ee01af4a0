"""Update, patch and delete of the record that search criteria in the URL match (https://hl7.org/fhir/R4/http.html).

The criteria are evaluated with consistent reads. The record is changed only while it is at the version that matched.
When it has changed concurrently, the search is repeated.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from patient_api.contract.audit import Action, AuditEvent
from patient_api.contract.keys import PATIENT
from patient_api.errors import ApiError, Conflict, Forbidden, HeadMismatch, Malformed, NotAllowed, NotFound, Stale
from patient_api.http.authorization import BUSY, Authorization
from patient_api.http.criteria import Criteria
from patient_api.http.named_versions import NamedVersions, not_yet_here
from patient_api.http.payload import Resource, patch_in, resource_in, version_in
from patient_api.http.preconditions import STALE, Preconditions
from patient_api.http.request import Request
from patient_api.patients.creation import Creation, CriteriaLookup
from patient_api.patients.service import ATTEMPTS, Patients, patched
from patient_api.service_context import Created
from patient_api.store.model import Method, Version


@dataclass(eq=False, repr=False, kw_only=True)
class ConditionalChanges:
    """Changes the one record that search criteria match. Several matches are refused with 412."""

    patients: Patients
    creation: Creation
    selection: CriteriaLookup
    authorization: Authorization

    def update(self, request: Request) -> Created:
        """Update the record that matches, or create one when none does.

        Concurrent requests with the same criteria create one record. An id in the body must be that of the record that
        matches; no record is created under an id of the client.
        """
        event = self.authorization.authorize(request, Action.UPDATE, "update", PATIENT)
        criteria = self.selection.of_change(request, event)
        conditions = Preconditions.of(request)
        resource = resource_in(request, PATIENT)
        conditions = conditions.or_match(version_in(resource))

        def change(current: Version) -> Resource:
            if resource.get("id", current.key.id) != current.key.id:
                raise Malformed("The id must be that of the record that matches, or left out.", expression="Patient.id")
            if not conditions.allow_change_of(current):
                raise Stale(STALE)
            return resource

        def create() -> Version:
            if "id" in resource:
                text = "No record matches, and an update does not create one of this id: the server assigns ids."
                self.authorization.refuse(event, NotAllowed(text))
            if conditions.match is not None:
                self.authorization.refuse(
                    event, Stale("No record matches that could be at the version of the preconditions.")
                )
            if not request.caller.may("c", PATIENT):
                self.authorization.refuse(
                    event, Forbidden("No record matches, and the token does not grant creating one.")
                )
            created = replace(event, action=Action.CREATE, status=HTTPStatus.CREATED)
            return self.creation.for_criteria(criteria, created, resource)

        return self._change(event, criteria, Method.PUT, NamedVersions.of(request, conditions), change, create)

    def patch(self, request: Request) -> Version:
        """Patch the record that matches."""
        event = self.authorization.authorize(request, Action.UPDATE, "patch", PATIENT)
        criteria = self.selection.of_change(request, event)
        conditions = Preconditions.of(request)
        patch = patch_in(request)
        conditions = conditions.or_match(patch.version)

        def change(current: Version) -> Resource:
            return patched(current, patch, conditions)

        return self._change(event, criteria, Method.PATCH, NamedVersions.of(request, conditions), change).version

    def delete(self, request: Request) -> Version:
        """Delete the record that matches."""
        event = replace(
            self.authorization.authorize(request, Action.DELETE, "delete", PATIENT), status=HTTPStatus.NO_CONTENT
        )
        criteria = self.selection.of_change(request, event)
        conditions = Preconditions.of(request)

        def change(current: Version) -> None:
            if not conditions.allow_change_of(current):
                raise Stale(STALE)

        return self._change(event, criteria, Method.DELETE, NamedVersions.of(request, conditions), change).version

    def _change(
        self,
        event: AuditEvent,
        criteria: Criteria,
        method: Method,
        named: NamedVersions,
        change: Callable[[Version], Resource | None],
        create: Callable[[], Version] | None = None,
    ) -> Created:
        """Apply `change` to the record that matches, or `create` when there is none.

        Without a match, the record of a named version is unknown: that of a version of this region is here and does not
        match, that of one of the other region may be on its way. Named by a repeated request, it is often the record
        that the first one has changed.
        """
        for _ in range(ATTEMPTS):
            current = self.selection.one(criteria, event)
            with contextlib.suppress(HeadMismatch):
                if current is not None:
                    changed = replace(event, record=current.key.reference)
                    self.patients.check_named(named, changed, current.key, current)
                    return Created(self._replace(changed, current, method, change), fresh=False)
                with self.authorization.auditing(event):
                    awaited = self.patients.arrivals.may_arrive(named)
                if awaited:
                    self.authorization.refuse(event, not_yet_here())
                if create is None:
                    self.authorization.refuse(event, NotFound(f"No record matches the criteria in {criteria.place}."))
                return Created(create())
        return self.authorization.refuse(event, Conflict(BUSY))

    def _replace(
        self, event: AuditEvent, current: Version, method: Method, change: Callable[[Version], Resource | None]
    ) -> Version:
        try:
            resource = change(current)
        except ApiError as error:
            # A refusal discloses that there is such a record, and something of it.
            self.authorization.refuse(event, error)
        return self.patients.write(event, current.key, current.stamp, resource, method)
