"""Text of a journal as HTML, and numbers as people read them."""

import math
from collections.abc import Iterable, Sequence

from healthcare_dr.ops.charts import escaped


def seconds(value: float | None, *, none: str = "not measured") -> str:
    """`12.3 s`; `none` without a value."""
    return none if value is None or not math.isfinite(value) else f"{value:.1f} s"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> str:
    """Return a table that scrolls when it is too wide; without rows, the text `none`."""
    lines = ["<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    if not lines:
        return f"<p>{escaped(none)}</p>"
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
