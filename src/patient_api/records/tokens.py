"""What records are found by, in clear: `Finder` blinds it before it becomes a key.

Every token leads to candidates only: a search looks at each of them before it answers. So a token may stand for less
than was asked, such as the first letters of a name.
"""

from collections.abc import Iterator
from typing import Final

from patient_api.fhir.codec import JsonValue
from patient_api.fhir.folding import fold
from patient_api.records.items import Token
from patient_api.records.model import DOCUMENT, PATIENT
from patient_api.secrets import Secrets

# How many of a name's first letters are looked for at once.
SHORT_PREFIX: Final = 2
LONG_PREFIX: Final = 4

Resource = dict[str, JsonValue]


class Finder:
    """Tokens of resources and of searches, blinded. Its methods raise StorageFault when the secret is out of reach."""

    def __init__(self, *, secrets: Secrets) -> None:
        self._secrets = secrets

    def tokens(self, tenant: str, resource: Resource) -> frozenset[Token]:
        """All that a resource is to be found by."""
        kind = str(resource["resourceType"])
        clear = {PATIENT: _patient, DOCUMENT: _document}[kind](resource)
        return frozenset(self.token(tenant, kind, parameter, value) for parameter, value in set(clear))

    def token(self, tenant: str, kind: str, parameter: str, value: str) -> Token:
        """One token; `parameter` and `value` as the functions below put them."""
        return Token(parameter, self._secrets.blind(tenant, kind, parameter, value))


def name_prefix(folded: str) -> tuple[str, str] | None:
    """What finds names that begin with `folded`; None when that is too short to be looked for."""
    if len(folded) < SHORT_PREFIX:
        return None
    return "name", folded[: LONG_PREFIX if len(folded) >= LONG_PREFIX else SHORT_PREFIX]


def identifier(system: str | None, value: str) -> tuple[str, str]:
    """What finds an identifier; in any system when `system` is None, in none when it is empty.

    Case does not matter in the value, since in most systems of identifiers nobody knows whether it does
    (https://hl7.org/fhir/R4/search.html#token).
    """
    folded = value.casefold()
    return ("identifier", folded) if system is None else ("system-identifier", f"{system}|{folded}")


def birth_year(date: str) -> tuple[str, str]:
    """What finds those born in the year of a FHIR date."""
    return "birth-year", date[:4]


def subject(patient_id: str) -> tuple[str, str]:
    """What finds a patient's documents."""
    return "patient", patient_id


def names(resource: Resource, *parts: str) -> Iterator[str]:
    """The texts of a Patient's names: of these parts out of family, given, prefix, suffix, text."""
    for name in _objects(resource.get("name")):
        for part in parts:
            value = name.get(part)
            yield from (text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str))


def identifiers(resource: Resource) -> Iterator[tuple[str, str]]:
    """System, empty when there is none, and value of a resource's identifiers."""
    for entry in _objects(resource.get("identifier")):
        value, system = entry.get("value"), entry.get("system")
        if isinstance(value, str):
            yield (system if isinstance(system, str) else ""), value


def patients(resource: Resource) -> Iterator[str]:
    """The id of the patient that a resource is about."""
    reference = resource.get("subject")
    target = reference.get("reference") if isinstance(reference, dict) else None
    if isinstance(target, str) and target.startswith(f"{PATIENT}/"):
        yield target.removeprefix(f"{PATIENT}/")


NAME_PARTS: Final = ("family", "given", "prefix", "suffix", "text")


def _patient(resource: Resource) -> Iterator[tuple[str, str]]:
    for text in names(resource, *NAME_PARTS):
        folded = fold(text)
        if folded:
            yield "name", folded[:SHORT_PREFIX]
        if len(folded) >= LONG_PREFIX:
            yield "name", folded[:LONG_PREFIX]
    for system, value in identifiers(resource):
        yield identifier(None, value)
        yield identifier(system, value)
    born = resource.get("birthDate")
    if isinstance(born, str):
        yield birth_year(born)


def _document(resource: Resource) -> Iterator[tuple[str, str]]:
    for patient_id in patients(resource):
        yield subject(patient_id)


def _objects(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    yield from (entry for entry in (value if isinstance(value, list) else ()) if isinstance(entry, dict))
