"""Tests of the pages in docs/: their links resolve, the index is complete, and the architecture names what exists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SOURCES = ROOT / "src"
PACKAGES = ("patient_api", "healthcare_dr")
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
EXPERIMENTS = {path.stem for path in (SOURCES / "healthcare_dr" / "ops" / "drill" / "experiments").glob("*.yaml")}
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([\w-]+))?\)")


def links_of(page: Path) -> list[Path]:
    """Return the local targets of a page's links."""
    found = [target for target, _ in LINK.findall(page.read_text(encoding="utf-8"))]
    return [(page.parent / target).resolve() for target in found if not re.match(r"\w+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_resolve(page: Path) -> None:
    assert [target for target in links_of(page) if not target.exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_drills_of_a_page_exist(page: Path) -> None:
    drills = re.findall(r"hdr drill ([a-z][a-z-]+)(?![\w./-])", page.read_text(encoding="utf-8"))
    assert set(drills) - EXPERIMENTS <= {"heal", "list", "schema"}


def test_index_leads_to_every_page() -> None:
    index = {path for path in links_of(DOCS / "README.md") if path.parent == DOCS}
    assert {path for path in DOCS.iterdir() if path.suffix in (".md", ".json", ".yaml")} - index == {DOCS / "README.md"}
    for folder in (DOCS / "adr", DOCS / "runbooks"):
        assert folder / "README.md" in links_of(DOCS / "README.md")
        assert set(folder.glob("*.md")) - set(links_of(folder / "README.md")) == {folder / "README.md"}


def resolves(name: str) -> bool:
    """Return whether a dotted name, relative to one of the packages, is a module or something that one defines."""
    return any(_resolves(SOURCES / package, name.split(".")) for package in PACKAGES)


def _resolves(folder: Path, parts: list[str]) -> bool:
    for number, part in enumerate(parts):
        if (file := folder / f"{part}.py").is_file():
            return _defines(ast.parse(file.read_text(encoding="utf-8")).body, parts[number + 1 :])
        if not (folder / part).is_dir():
            return number > 0 and _defines(ast.parse((folder / "__init__.py").read_text("utf-8")).body, parts[number:])
        folder /= part
    return True


def _defines(body: list[ast.stmt], parts: list[str]) -> bool:
    if not parts:
        return True
    found = [node for node in body if parts[0] in _names(node)]
    nested = found[-1].body if found and isinstance(found[-1], ast.ClassDef) else []
    return bool(found) and _defines(nested, parts[1:])


def _names(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.AnnAssign | ast.Assign):
        targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
        yield from (target.id for target in targets if isinstance(target, ast.Name))


NAMES = sorted(set(re.findall(r"`([a-z_]+[0-9]*(?:\.\w+)+)`", ARCHITECTURE)))
FILES = sorted(set(re.findall(r"`((?:src|tests)/[\w/.]+)`", ARCHITECTURE)))


@pytest.mark.parametrize("name", [name for name in NAMES if Path(name).suffix not in (".py", ".json", ".html", ".md")])
def test_name_in_the_architecture_exists(name: str) -> None:
    assert resolves(name.removeprefix("patient_api."))


@pytest.mark.parametrize("path", FILES)
def test_path_in_the_architecture_exists(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize(
    "name", ["http.nowhere", "http.request.Nothing", "http.request.Request.nothing", "nowhere.at_all"]
)
def test_name_that_does_not_exist_is_found(name: str) -> None:
    assert not resolves(name)


def test_tree_of_the_architecture_contains_every_package() -> None:
    tree = ARCHITECTURE.split("```text\n")[1].split("```")[0]
    drawn, above = set(), list[str]()
    for line in tree.splitlines():
        indentation, name = re.fullmatch(r"( *)(\w+)/( .*)?", line).group(1, 2)  # type: ignore[union-attr] # or a failure
        above = [*above[: len(indentation) // 4], name]
        drawn.add(Path(*above))
    packages = {Path("src")}
    packages |= {path.parent.relative_to(ROOT) for name in PACKAGES for path in (SOURCES / name).rglob("*.py")}
    assert drawn == packages


def test_every_flow_takes_at_most_ten_steps() -> None:
    flows = ARCHITECTURE.split("## Six flows\n")[1].split("\n## ")[0].split("\n### ")[1:]
    assert len(flows) == 6
    assert [flow.splitlines()[0] for flow in flows if len(re.findall(r"^\d+\. ", flow, re.M)) > 10] == []
