"""Imports between the packages of the functions, and from the rest of the project into them, point one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import healthcare_dr
import patient_api

FUNCTIONS = Path(patient_api.__file__).parent
PROJECT = Path(healthcare_dr.__file__).parent
# A package may import those of lower ranks and, where it is a module, every module of the root but the entry points.
RANKS = {
    "contract": 0,
    "fhir": 1,
    "audit": 2,
    "store": 3,
    "region": 2,
    "http": 4,
    "patients": 5,
    "documents": 5,
    "search": 5,
    "discovery": 6,
    "handlers": 7,
}
# Composition imports everything, and only entry points import it.
COMPOSITION = "bootstrap"
ROOT_RANKS = {COMPOSITION: 6.5, "service_context": 4.5}


def imported(path: Path, package: str) -> Iterator[str]:
    """Yield the package or root module of `package` behind each import, those for types alone included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
            parts = str(node.module).split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[2] for alias in node.names if alias.name.startswith(f"{package}."))


def rank(name: str) -> float:
    """Return the rank of a package or of a module of the root."""
    return RANKS[name] if name in RANKS else ROOT_RANKS.get(name, 0.5)


@pytest.mark.parametrize("path", sorted(FUNCTIONS.rglob("*.py")), ids=lambda path: str(path.relative_to(FUNCTIONS)))
def test_functions_import_lower_ranks_only(path: Path) -> None:
    own = path.relative_to(FUNCTIONS).parts[0].removesuffix(".py")
    for name in imported(path, "patient_api"):
        assert name == own or rank(name) < rank(own) or (rank(name) == rank(own) == 0.5), name
    assert not set(imported(path, "healthcare_dr"))


def test_every_package_has_a_rank() -> None:
    assert {path.name for path in FUNCTIONS.iterdir() if (path / "__init__.py").exists()} == set(RANKS)


@pytest.mark.parametrize("path", sorted(PROJECT.rglob("*.py")), ids=lambda path: str(path.relative_to(PROJECT)))
def test_project_imports_only_the_contract_of_the_functions(path: Path) -> None:
    assert set(imported(path, "patient_api")) <= {"contract"}
