"""What the audit trail says of the functions that nobody calls."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Final

from patient_api.clock import Stamp
from patient_api.contract.audit import Action, AuditEvent, Outcome
from patient_api.documents.reference import Document

SUBJECT: Final = "system:document-confirmation"


class Events:
    """Audit events of this region. `now` gives the time in UTC, `new_id` a unique id."""

    def __init__(self, *, region: str, now: Callable[[], datetime], new_id: Callable[[], str]) -> None:
        self.now = now
        self._region = region
        self._new_id = new_id

    def update(self, document: Document, *, version: Stamp, request_id: str) -> AuditEvent:
        """That the platform itself wrote a new version of a document."""
        key = document.version.key
        return AuditEvent(
            id=self._new_id(),
            at=self.now(),
            tenant=key.tenant,
            subject=SUBJECT,
            action=Action.UPDATE,
            interaction="update",
            record=document.patient,
            entity=key.reference,
            version=str(version),
            outcome=Outcome.SUCCESS,
            status=HTTPStatus.OK,
            region=self._region,
            source_ip="",
            request_id=request_id,
        )
