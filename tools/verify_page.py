"""Writes docs/verify.md: every check of `hdr verify`, from the code that asks."""

from pathlib import Path

from healthcare_dr.ops.verify.catalog import CATALOG
from healthcare_dr.ops.verify.check import Check
from healthcare_dr.ops.verify.runner import LIMIT_SECONDS, REACHABLE

DOCS = Path(__file__).parents[1] / "docs"
PAGE, TEMPLATE = DOCS / "verify.md", DOCS / "verify.template.md"
COLUMNS = ("check", "what has to hold", "why it matters for recovery", "requirement, trap", "how to mend it")


def page() -> str:
    """The page."""
    rows = [_line(COLUMNS), "|---" * len(COLUMNS) + "|", *(_row(check) for check in (REACHABLE, *CATALOG.values()))]
    template = TEMPLATE.read_text(encoding="utf-8")
    return template.replace("SECONDS", f"{LIMIT_SECONDS:.0f}").replace("CHECKS", "\n".join(rows))


def _row(check: Check) -> str:
    mark = f" {'●●' if check.both_regions else '●'}" if check.gates_restore else ""
    name = f"`{check.name}`{mark}<br>{'each region' if check.each_region else 'once'}"
    return _line((name, check.expects, check.why, ", ".join(check.numbers), check.fix))


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
