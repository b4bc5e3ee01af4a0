"""A pytest plugin that writes which test carries which requirement and trap, as JSON, into the file $HDR_MARKS_FILE.

`pytest --collect-only -p marks` runs nothing.
"""

import json
import os
from pathlib import Path

import pytest


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the marks of all collected tests: `{"requirement": {"R1.1": ["tests/….py", …]}, "trap": {…}}`."""
    found: dict[str, dict[str, set[str]]] = {"requirement": {}, "trap": {}}
    for item in session.items:
        path = item.path.relative_to(session.config.rootpath).as_posix()
        for kind, tests in found.items():
            for mark in item.iter_markers(kind):
                for value in mark.args:
                    tests.setdefault(str(value), set()).add(path)
    target = Path(os.environ["HDR_MARKS_FILE"])
    target.write_text(
        json.dumps({kind: {value: sorted(paths) for value, paths in tests.items()} for kind, tests in found.items()}),
        encoding="utf-8",
    )
