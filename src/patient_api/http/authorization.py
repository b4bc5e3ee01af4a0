"""Authorize requests and write their audit events.

Every access to a record, granted or refused, is in the audit trail before the client receives the response. When the
trail cannot be written, the StorageFault propagates and the client receives no data. A client without the right
receives 403 even if its request is malformed as well. A request that is rejected for its form alone (400, 406, 413,
415, 422) has not accessed a record, and is in the log only.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, NoReturn

from patient_api.audit.trail import AuditTrail
from patient_api.contract.audit import Action, AuditEvent, Outcome
from patient_api.errors import (
    ApiError,
    Conflict,
    Contention,
    Forbidden,
    NotFound,
    StorageFault,
    TooCostly,
    Unauthenticated,
    Unprocessable,
    WrongClock,
)
from patient_api.http.request import Request
from patient_api.store.model import is_id

BUSY: Final = "A concurrent write of the record is in progress."

_RIGHT: Final = {Action.CREATE: "c", Action.READ: "r", Action.UPDATE: "u", Action.DELETE: "d", Action.EXECUTE: "s"}


@dataclass(eq=False, repr=False, kw_only=True)
class Authorization:
    """Authorizes accesses. `new_id` returns a unique id.

    Events have the time at which the gateway received the request, so a function whose clock is wrong cannot put them
    where no search finds them.
    """

    trail: AuditTrail
    region: str
    new_id: Callable[[], str]

    def authorize(
        self,
        request: Request,
        action: Action,
        interaction: str,
        kind: str,
        id: str | None = None,
        *,
        right: str | None = None,
    ) -> AuditEvent:
        """Authorize an access to a resource type, or to one record of it, and return its audit event, unwritten.

        The caller needs the right of the action, or `right` where it is given. Raises Unauthenticated and Forbidden,
        and NotFound for an invalid id, each after its audit event is written.
        """
        # An invalid id may be any text, such as a name, which must not reach the audit trail.
        valid = id is not None and is_id(id)
        event = AuditEvent(
            id=self.new_id(),
            at=request.received,
            tenant=request.caller.tenant,
            subject=request.caller.subject,
            action=action,
            interaction=interaction,
            record=f"{kind}/{id}" if valid else kind,
            outcome=Outcome.SUCCESS,
            status=HTTPStatus.OK,
            region=self.region,
            source_ip=request.source_ip,
            request_id=request.request_id,
        )
        if not request.caller.authenticated:
            self.refuse(event, Unauthenticated("A token is required.", headers={"WWW-Authenticate": "Bearer"}))
        if not request.caller.may(right or _RIGHT[action], kind):
            self.refuse(event, Forbidden("The token does not grant this."))
        if id is not None and not valid:
            self.refuse(event, NotFound("There is no such record."))
        return event

    def record(self, event: AuditEvent) -> None:
        """Write an audit event. Raises StorageFault."""
        self.trail.put(event)

    def record_all(self, events: Sequence[AuditEvent]) -> None:
        """Write at most 100 audit events in one transaction. Raises StorageFault."""
        self.trail.put_all(events)

    def refuse(self, event: AuditEvent, error: ApiError) -> NoReturn:
        """Write the audit event of a refusal, and raise `error`."""
        self.trail.put(replace(event, outcome=Outcome.REFUSED, status=error.status, version=None))
        error.audited = True
        raise error

    @contextmanager
    def auditing(self, event: AuditEvent, *, written: bool = False) -> Iterator[None]:
        """Audit the errors of an access that the block raises. `written` is whether the event is already written.

        TooCostly and Unprocessable are refusals. Contention is one too, and raised as Conflict. StorageFault and
        WrongClock are failures. An error that `refuse` has raised is not audited again.
        """
        try:
            yield
        except (TooCostly, Unprocessable) as error:
            if error.audited:
                raise
            self.refuse(self.amendment(event) if written else event, error)
        except Contention:
            self.refuse(self.amendment(event) if written else event, Conflict(BUSY))
        except (StorageFault, WrongClock):
            self._record_failure(self.amendment(event) if written else event)
            raise

    def _record_failure(self, event: AuditEvent) -> None:
        # The client receives the fault and no data, so a failure to write this event discloses nothing.
        with suppress(StorageFault):
            self.trail.put(
                replace(event, id=self.new_id(), outcome=Outcome.FAILURE, status=HTTPStatus.SERVICE_UNAVAILABLE)
            )

    def amendment(self, event: AuditEvent) -> AuditEvent:
        """Return a further event with the result of an access whose event is already written."""
        return replace(event, id=self.new_id(), amends=event.id)
