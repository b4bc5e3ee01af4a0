"""Build bundles of pages, and the cursors that lead to the next page.

Resources are inserted into a bundle as stored JSON text, without being parsed. Cursors are opaque to clients, signed,
and expire.
"""

import base64
import binascii
import hmac
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from patient_api.errors import Malformed
from patient_api.fhir.codec import JsonValue, Number, dump
from patient_api.secrets import Secrets
from patient_api.store.model import Method, Version

CONFLICT: Final = "urn:healthcare-dr:concurrent-with"
FOLLOWS: Final = "urn:healthcare-dr:follows"

_STATUS: Final = {Method.POST: "201", Method.DELETE: "204"}


@dataclass(frozen=True)
class BundleEntry:
    """An entry of a bundle. `resource` is JSON; `rest` are the entry's other elements."""

    resource: str | None
    rest: Mapping[str, JsonValue]

    @classmethod
    def match(cls, resource: str, *, url: str) -> "BundleEntry":
        """Return the entry of a search result; `url` is absolute, or a `urn:uuid:`."""
        return cls(resource, {"fullUrl": url, "search": {"mode": "match"}})

    @classmethod
    def outcome(cls, dropped: Sequence[str]) -> "BundleEntry":
        """Return the OperationOutcome that names the parameters which a search ignored."""
        issues: list[JsonValue] = [
            {"severity": "warning", "code": "not-supported", "diagnostics": f"The search ignored {name}."}
            for name in dropped
        ]
        return cls(dump({"resourceType": "OperationOutcome", "issue": issues}), {"search": {"mode": "outcome"}})

    @classmethod
    def past(cls, version: Version, *, url: str, concurrent_with: Sequence[str] = ()) -> "BundleEntry":
        """Return the entry of a version in a history.

        `concurrent_with` are versions written concurrently in the other region. The entry names the versions that it
        follows, because a merge has to name the last version of each branch.
        """
        request: dict[str, JsonValue] = {"method": version.method.value, "url": version.key.reference}
        if version.method is Method.POST:
            request["url"] = version.key.type
        response: dict[str, JsonValue] = {
            "status": _STATUS.get(version.method, "200"),
            "etag": f'W/"{version.stamp}"',
            "lastModified": version.stamp.instant,
        }
        rest: dict[str, JsonValue] = {"fullUrl": url, "request": request, "response": response}
        follows = [str(stamp) for stamp in (version.replaces, *version.merges) if stamp is not None]
        named = [*((CONFLICT, other) for other in concurrent_with), *((FOLLOWS, other) for other in follows)]
        if named:
            rest["extension"] = [{"url": url, "valueId": other} for url, other in named]
        return cls(version.resource, rest)


def bundle(
    kind: Literal["searchset", "history"],
    entries: Sequence[BundleEntry],
    *,
    links: Mapping[str, str],
    total: int | None = None,
) -> str:
    """Return a Bundle as JSON. `links` are URLs by their relation."""
    head: dict[str, JsonValue] = {"resourceType": "Bundle", "type": kind}
    if total is not None:
        head["total"] = Number(str(total))
    head["link"] = [{"relation": relation, "url": url} for relation, url in links.items()]
    text = dump(head)[:-1]
    if entries:
        text += ',"entry":[' + ",".join(map(_entry, entries)) + "]"
    return text + "}"


def _entry(entry: BundleEntry) -> str:
    rest = dump(dict(entry.rest))
    return rest if entry.resource is None else f'{rest[:-1]},"resource":{entry.resource}}}'


LIFETIME_SECONDS: Final = 3600
LONGEST: Final = 2048


class Cursors:
    """Seals and opens cursors. Both regions sign with the same secret, so a page continues in either."""

    def __init__(self, *, secrets: Secrets, now: Callable[[], float] = time.time) -> None:
        self._secrets = secrets
        self._now = now

    def seal(self, *scope: str, position: Sequence[str]) -> str:
        """Return a cursor for a position within `scope`: the tenant, the interaction and the search."""
        content = json.dumps([int(self._now()) + LIFETIME_SECONDS, list(position)], separators=(",", ":")).encode()
        # The position may be the id of a record. Search criteria are not in the cursor, because clients repeat them.
        return f"{_encoded(content)}.{self._signature(content, scope)}"

    def open(self, cursor: str, *scope: str) -> list[str]:
        """Return the position in a cursor. Raises Malformed when it is forged, expired, or of another scope."""
        if len(cursor) > LONGEST:
            raise Malformed("The cursor is too long.")
        body, _, signature = cursor.partition(".")
        try:
            content = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            genuine = hmac.compare_digest(self._signature(content, scope), signature)
        except (binascii.Error, ValueError, TypeError):
            genuine = False
        if not genuine:
            raise Malformed("The cursor is not one of this server, or belongs to another search.")
        expires, position = json.loads(content)
        if self._now() > expires:
            raise Malformed("The cursor has expired: search again.")
        return [str(part) for part in position]

    def _signature(self, content: bytes, scope: Sequence[str]) -> str:
        # JSON keeps the boundaries between the parts of the scope.
        bound = json.dumps(list(scope)).encode()
        return self._secrets.sign(bound + b"\0" + content)


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
