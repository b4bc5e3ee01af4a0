"""Pages of docs/ that are written by hand but for blocks between `<!-- name -->` and `<!-- end -->`."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

BLOCK: Final = re.compile(r"<!-- (\w+) -->\n(?:.*?\n)??<!-- end -->", re.DOTALL)


def filled(page: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The page with each block as `blocks` has it.

    Raises:
        KeyError: a block is not known.
    """
    return BLOCK.sub(lambda block: f"<!-- {block[1]} -->\n{blocks[block[1]]()}\n<!-- end -->", page)


def named(page: str) -> list[str]:
    """The blocks of a page, in order."""
    return BLOCK.findall(page)


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of Markdown; what would end a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")
