"""Which folder of the function may know which: imports point one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import patient_api

FOLDER = Path(patient_api.__file__).parent
# A folder knows those of lower ranks; modules beside the folders are known to all, except the entry points.
RANKS = {
    "fhir": 1,
    "records": 2,
    "audit": 2,
    "region": 2,
    "exchange": 3,
    "patients": 4,
    "documents": 4,
    "search": 4,
    "api": 5,
}
ENTRIES = {"handler", "wiring", "confirmation", "reconciliation", "sentinel"}
# The store keeps a version and its event in one transaction; an event names the record's type.
BESIDE = {("records", "audit"), ("audit", "records")}


def imported(path: Path) -> Iterator[str]:
    """The folder or module of the package behind each import, those for types alone included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("patient_api"):
            parts = str(node.module).split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_point_one_way(path: Path) -> None:
    place = path.relative_to(FOLDER).parts[0]
    own = RANKS.get(place)
    if own is None:
        assert path.stem in ENTRIES or not [name for name in imported(path) if RANKS.get(name, 0) > 1]
        return
    for name in imported(path):
        assert name not in ENTRIES
        assert name == place or RANKS.get(name, 0) < own or (place, name) in BESIDE, name


def test_every_folder_has_its_rank() -> None:
    assert {path.name for path in FOLDER.iterdir() if (path / "__init__.py").exists()} == set(RANKS)
