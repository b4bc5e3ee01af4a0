"""Which representation the caller wants: FHIR's JSON, whole or not at all."""

from typing import Final

from patient_api.errors import NotAcceptable
from patient_api.exchange.request import Request

# https://hl7.org/fhir/R4/http.html#mime-type
_WRITTEN: Final = frozenset({"application/fhir+json", "application/json", "application/*", "*/*"})
_FORMATS: Final = frozenset({"json", "application/json", "application/fhir+json", "text/json"})


def check_accept(request: Request) -> None:
    """Raises NotAcceptable when the caller takes no JSON, by the header Accept or, which weighs more, by `_format`."""
    wanted = [value for name, value in request.parameters_of_query() if name == "_format"]
    if wanted:
        # In a URL, a plus sign that nobody escaped is a space.
        if any(value.partition(";")[0].strip().replace(" ", "+") not in _FORMATS for value in wanted):
            raise NotAcceptable("This server writes application/fhir+json.")
        return
    accept = request.headers.get("accept", "*/*")
    if _WRITTEN.isdisjoint(_accepted(accept)):
        raise NotAcceptable("This server writes application/fhir+json.")


def whole_wanted(request: Request) -> bool:
    """Whether a write is to be answered with the resource: unless the caller prefers `return=minimal`."""
    preferences = [part.strip() for part in request.headers.get("prefer", "").lower().split(",")]
    return "return=minimal" not in preferences


def _accepted(header: str) -> set[str]:
    ranges = (part.split(";") for part in header.lower().split(","))
    return {kind.strip() for kind, *parameters in ranges if not any(_refused(p) for p in parameters)}


def _refused(parameter: str) -> bool:
    name, _, value = parameter.strip().partition("=")
    return (name == "q" and value.strip("0.") == "" and value != "") or (
        name == "fhirversion" and not value.startswith("4.0")
    )
