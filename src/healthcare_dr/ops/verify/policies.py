"""Compare policy documents by meaning rather than by bytes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

Statement = Mapping[str, Any]
Document = str | Mapping[str, Any]


def statements(document: Document) -> list[Statement]:
    """Return the statements of a policy, given as JSON or parsed."""
    parsed = json.loads(document) if isinstance(document, str) else document
    found = parsed.get("Statement") or []
    return [found] if isinstance(found, Mapping) else list(found)


def differences(wanted: Document, found: Document) -> Iterator[str]:
    """Yield the differences between `found` and `wanted`, statement by statement, by Sid."""
    before, now = _by_sid(wanted), _by_sid(found)
    for sid, statement in before.items():
        if sid not in now:
            yield f"the statement {sid} is missing"
        elif now[sid] != statement:
            yield f"the statement {sid} has changed"
    for sid in now:
        if sid not in before:
            yield f"the statement {sid} has been added"


def allows(document: Document, service: str, actions: Sequence[str]) -> bool:
    """Return whether statements allow a service all of these actions, with no condition except on the account."""
    return all(
        any(
            statement.get("Effect") == "Allow"
            and service in listed(_principal(statement).get("Service"))
            and any(fnmatchcase(action.lower(), pattern.lower()) for pattern in listed(statement.get("Action")))
            for statement in statements(document)
        )
        for action in actions
    )


def requires_tls(document: Document, resource: str) -> bool:
    """Return whether a bucket policy denies every use of the bucket and its objects without TLS."""
    return any(
        statement.get("Effect") == "Deny"
        and _principal(statement) == {"AWS": "*"}
        and "s3:*" in listed(statement.get("Action"))
        and {resource, f"{resource}/*"} <= set(listed(statement.get("Resource")))
        and listed((statement.get("Condition") or {}).get("Bool", {}).get("aws:SecureTransport")) == ["false"]
        for statement in statements(document)
    )


def listed(value: Any) -> list[str]:
    """Return a list of a value that may be one item, a list or None."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in items]


def _principal(statement: Statement) -> Mapping[str, Any]:
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        return cast("Mapping[str, Any]", {kind: _flat(names) for kind, names in principal.items()})
    return {"AWS": principal} if principal is not None else {}


def _flat(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _by_sid(document: Document) -> dict[str, str]:
    return {
        str(statement.get("Sid") or f"number {number}"): _canonical(statement)
        for number, statement in enumerate(statements(document), start=1)
    }


def _canonical(statement: Statement) -> str:
    canonical = {
        "Effect": statement.get("Effect"),
        "Action": sorted(listed(statement.get("Action"))),
        "Resource": sorted(listed(statement.get("Resource"))),
        "Principal": {kind: sorted(listed(names)) for kind, names in _principal(statement).items()},
        "Condition": {
            operator: {key: sorted(listed(value)) for key, value in keys.items()}
            for operator, keys in (statement.get("Condition") or {}).items()
        },
    }
    return json.dumps(canonical, sort_keys=True)
