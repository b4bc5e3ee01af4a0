"""Check the XHTML of a narrative, which may format text but not execute anything.

Rules: https://hl7.org/fhir/R4/narrative.html#xhtml
"""

import re
from typing import Final
from xml.parsers.expat import ExpatError, ParserCreate

_NAMESPACE: Final = "http://www.w3.org/1999/xhtml"
_ELEMENT_NAMES: Final = (
    "a abbr acronym b big blockquote br caption cite code col colgroup dd dfn div dl dt em h1 h2 h3 h4 h5 h6 hr i "
    "img li ol p pre q samp small span strong sub sup table tbody td tfoot th thead tr tt ul var"
)
_ATTRIBUTE_NAMES: Final = (
    "abbr accesskey align alt axis bgcolor border cellhalign cellpadding cellspacing cellvalign char charoff charset "
    "cite class colspan compact coords dir frame headers height href hreflang hspace id lang longdesc name nowrap rel "
    "rev rowspan rules scope shape span src start style summary tabindex title type valign value vspace width"
)
_ELEMENTS: Final = frozenset(f"{_NAMESPACE} {name}" for name in _ELEMENT_NAMES.split())
_ATTRIBUTES: Final = frozenset((*_ATTRIBUTE_NAMES.split(), "http://www.w3.org/XML/1998/namespace lang"))
_LINKS: Final = frozenset({"cite", "href", "longdesc", "src"})
# A scheme that executes nothing, or no scheme: no colon before the path, the query or the fragment.
_LINK: Final = re.compile(
    r"(?:https?|mailto|tel|cid):|data:image/(?:gif|jpeg|png)[;,]|[^:]*(?:[/?#]|\Z)", re.IGNORECASE
)
# With `position`, a narrative could cover the application that shows it. Escapes and comments could hide any of these.
_ACTIVE_STYLE: Final = re.compile(
    r"[\\@]|/\*|url\s*\(|expression\s*\(|behaviou?r|binding|(?<![\w-])position\s*:", re.IGNORECASE
)


class _NotAllowedError(Exception):
    """The text is not allowed in a narrative."""


class _Narrative:
    def __init__(self) -> None:
        self.depth = 0
        self.content = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name not in _ELEMENTS or (self.depth == 0 and name != f"{_NAMESPACE} div"):
            raise _NotAllowedError
        for attribute, value in attributes.items():
            if attribute not in _ATTRIBUTES:
                raise _NotAllowedError
            if attribute in _LINKS and not _LINK.match(value.strip()):
                raise _NotAllowedError
            if attribute == "style" and _ACTIVE_STYLE.search(value):
                raise _NotAllowedError
        self.depth += 1
        self.content = self.content or name == f"{_NAMESPACE} img"

    def end(self, _: str) -> None:
        self.depth -= 1

    def text(self, data: str) -> None:
        self.content = self.content or not data.isspace()


def _reject(*_: object) -> None:
    raise _NotAllowedError


def is_narrative(text: str) -> bool:
    """Return whether `text` is one nonempty `div` with the elements and attributes that FHIR allows.

    Declarations, processing instructions, comments and CDATA are rejected: an HTML parser ends them earlier than an XML
    parser, and what follows could be a script.
    """
    narrative = _Narrative()
    parser = ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = narrative.start
    parser.EndElementHandler = narrative.end
    parser.CharacterDataHandler = narrative.text
    parser.StartDoctypeDeclHandler = _reject
    parser.XmlDeclHandler = _reject
    parser.CommentHandler = _reject
    parser.StartCdataSectionHandler = _reject
    parser.ProcessingInstructionHandler = _reject
    try:
        parser.Parse(text, True)
    except (ExpatError, _NotAllowedError, ValueError):
        return False
    return narrative.content
