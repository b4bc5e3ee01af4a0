"""Text as searches compare it (https://hl7.org/fhir/R4/search.html#string)."""

import unicodedata


def fold(text: str) -> str:
    """Without case, accents and superfluous white space: `  Zoë  ÅNGSTRÖM ` becomes `zoe angstrom`."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(bare.casefold().split())
