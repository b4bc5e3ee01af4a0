"""Match resources against search criteria (https://hl7.org/fhir/R4/search.html)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from patient_api.contract.keys import DOCUMENT, PATIENT
from patient_api.fhir.codec import JsonValue
from patient_api.fhir.dates import Span, compares, span
from patient_api.fhir.normalize import fold
from patient_api.search.parameters import DOCUMENT_STATUS, GENDER, Code, Criterion, Text, Value, When
from patient_api.store.index import NAME_PARTS, Resource, identifiers, names, patients

# What a resource holds: folded texts, pairs of system (empty for none) and code, spans, ids.
Held = str | tuple[str, str] | Span


def matches(kind: str, resource: Resource, criteria: Iterable[Criterion]) -> bool:
    """Return whether a resource of that type meets all criteria."""
    return all(_meets(list(_READERS[kind][criterion.name](resource)), criterion) for criterion in criteria)


def _meets(held: list[Held], criterion: Criterion) -> bool:
    return any(_is(value, one) for value in criterion.values for one in held)


def _is(value: Value, held: Held) -> bool:
    if isinstance(value, Text):
        return isinstance(held, str) and held.startswith(value.folded)
    if isinstance(value, Code):
        return isinstance(held, tuple) and same_code(value, *held)
    if isinstance(value, When):
        return isinstance(held, Span) and compares(value.prefix, value.span, held)
    return held == value.id


def same_code(asked: Code, system: str, code: str) -> bool:
    """Return whether a code is one of the search's; a system is a URI and must be identical."""
    return asked.system in {None, system} and (asked.code is None or asked.code.casefold() == code.casefold())


def _named(*parts: str) -> Callable[[Resource], Iterator[Held]]:
    return lambda resource: (fold(text) for text in names(resource, *parts))


def _dated(element: str) -> Callable[[Resource], Iterator[Held]]:
    return lambda resource: _span(resource.get(element))


def _coded(element: str, system: str) -> Callable[[Resource], Iterator[Held]]:
    def read(resource: Resource) -> Iterator[Held]:
        code = resource.get(element)
        if isinstance(code, str):
            yield system, code

    return read


def _updated(resource: Resource) -> Iterator[Held]:
    meta = resource.get("meta")
    if isinstance(meta, dict):
        yield from _span(meta.get("lastUpdated"))


def _id(resource: Resource) -> Iterator[Held]:
    yield str(resource["id"])


def _kind(resource: Resource) -> Iterator[Held]:
    concept = resource.get("type")
    codings = concept.get("coding") if isinstance(concept, dict) else None
    for coding in codings if isinstance(codings, list) else ():
        if isinstance(coding, dict):
            system, code = coding.get("system"), coding.get("code")
            if isinstance(code, str):
                yield (system if isinstance(system, str) else ""), code


def _span(value: JsonValue) -> Iterator[Held]:
    held = span(value) if isinstance(value, str) else None
    if held is not None:
        yield held


_READERS: Final[Mapping[str, Mapping[str, Callable[[Resource], Iterable[Held]]]]] = {
    PATIENT: {
        "_id": _id,
        "_lastUpdated": _updated,
        "identifier": identifiers,
        "family": _named("family"),
        "given": _named("given"),
        "name": _named(*NAME_PARTS),
        "birthdate": _dated("birthDate"),
        "gender": _coded("gender", GENDER),
    },
    DOCUMENT: {
        "_id": _id,
        "_lastUpdated": _updated,
        "patient": patients,
        "date": _dated("date"),
        "status": _coded("status", DOCUMENT_STATUS),
        "type": _kind,
    },
}
