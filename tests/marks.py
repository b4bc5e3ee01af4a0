"""A pytest plugin that writes the requirement and trap marks of all collected tests as JSON.

$HEALTHCARE_DR_MARKS_FILE is the path of the file. `pytest --collect-only -p marks` runs no test.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

Marks = dict[str, dict[str, list[str]]]


def marks_of(items: Iterable[pytest.Item]) -> Marks:
    """Return the files of the tests with each mark: `{"requirement": {"R1.1": ["tests/….py", …]}, "trap": {…}}`."""
    found: dict[str, dict[str, set[str]]] = {"requirement": {}, "trap": {}}
    for item in items:
        path = item.path.relative_to(item.config.rootpath).as_posix()
        for kind, tests in found.items():
            for mark in item.iter_markers(kind):
                for value in mark.args:
                    tests.setdefault(str(value), set()).add(path)
    return {kind: {value: sorted(paths) for value, paths in tests.items()} for kind, tests in found.items()}


def merged(some: Marks, others: Marks) -> Marks:
    """Return the marks of both."""
    return {
        kind: {
            value: sorted({*some[kind].get(value, ()), *others[kind].get(value, ())})
            for value in some[kind].keys() | others[kind].keys()
        }
        for kind in some
    }


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the marks of all collected tests."""
    Path(os.environ["HEALTHCARE_DR_MARKS_FILE"]).write_text(json.dumps(marks_of(session.items)), encoding="utf-8")
