"""Text of a journal as HTML, and numbers as people read them."""

import html
import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def escaped(value: object) -> str:
    """Safe in HTML and SVG, in text and in attributes; control characters become U+FFFD."""
    return html.escape(CONTROL.sub("\ufffd", str(value)))


def seconds(value: float | None, *, none: str = "not measured") -> str:
    """`12.3 s`; `none` without a value."""
    return none if value is None or not math.isfinite(value) else f"{value:.1f} s"


def number(value: float) -> str:
    """A coordinate or a tick: as short as it can be."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> str:
    """Return a table that scrolls when it is too wide; without rows, the text `none`."""
    lines = ["<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return f"<p>{escaped(none)}</p>"
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
