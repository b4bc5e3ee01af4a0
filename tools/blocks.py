"""Fill the generated blocks, between `<!-- name -->` and `<!-- end -->`, of pages in docs/."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

BLOCK: Final = re.compile(r"<!-- (\w+) -->\n(?:.*?\n)??<!-- end -->", re.DOTALL)


def filled(page: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """Return the page with each block filled by its function. Raises KeyError for an unknown block."""
    return BLOCK.sub(lambda block: f"<!-- {block[1]} -->\n{blocks[block[1]]()}\n<!-- end -->", page)


def named(page: str) -> list[str]:
    """Return the names of a page's blocks, in order."""
    return BLOCK.findall(page)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table. Characters that would end a cell are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
