"""Fill the generated blocks of pages in docs/: the text between `<!-- name -->` and `<!-- end -->`.

A page has a Jinja template in tools/templates, with a Jinja block for each of its generated blocks.
`.venv/bin/python tools/pages.py` fills all pages.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import availability_page
import drills_page
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from healthcare_dr.ops.drill.faults import FAULTS
from healthcare_dr.ops.slo.report import number
from healthcare_dr.ops.verify.checks import CATALOG
from healthcare_dr.ops.verify.runner import LIMIT_SECONDS, REACHABLE

DOCS: Final = Path(__file__).parents[1] / "docs"
BLOCK: Final = re.compile(r"<!-- (\w+) -->\n(?:.*?\n)??<!-- end -->", re.DOTALL)


def _cell(value: object) -> str:
    """Return a value as it may stand in a cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", "\\|")


TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_cell,
    autoescape=False,  # noqa: S701 - the templates are Markdown, and their values come from this repository
)
TEMPLATES.filters |= {"number": number, "g": lambda value: f"{value:g}"}

CONTEXTS: Final[Mapping[str, Callable[[], Mapping[str, Any]]]] = {
    "availability": availability_page.context,
    "drills": drills_page.context,
    "fault-injection": lambda: {"faults": FAULTS},
    "verify": lambda: {"checks": [REACHABLE, *CATALOG.values()], "limit_seconds": LIMIT_SECONDS},
}
"""For each page, the function that returns the values of its template."""


def read(name: str) -> str:
    """Return the text of a page."""
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def fill(name: str, context: Mapping[str, Any]) -> str:
    """Return a page with its blocks filled. Raises KeyError for a block that the template does not have."""
    template = TEMPLATES.get_template(f"{name}.md.j2")
    values = template.new_context(dict(context))

    def block(found: re.Match[str]) -> str:
        return f"<!-- {found[1]} -->\n{''.join(template.blocks[found[1]](values)).strip()}\n<!-- end -->"

    return BLOCK.sub(block, read(name))


def blocks_on(name: str) -> list[str]:
    """Return the names of the blocks on a page, in order."""
    return BLOCK.findall(read(name))


def blocks_of_template(name: str) -> list[str]:
    """Return the names of the blocks in the template of a page."""
    return list(TEMPLATES.get_template(f"{name}.md.j2").blocks)


if __name__ == "__main__":
    for page, context in CONTEXTS.items():
        (DOCS / f"{page}.md").write_text(fill(page, context()), encoding="utf-8")
