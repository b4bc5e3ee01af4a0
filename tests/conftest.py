"""What holds for every test."""

import signal
from pathlib import Path

import pytest

# Whoever runs the tests in the background may have SIGINT ignored, which every child would inherit for good.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests are spread over processes, a folder stays in one: its tests share a deployment, or a synthesis."""
    for item in items:
        kind, *folders = item.path.relative_to(HERE).parent.parts or (".",)
        group = "/".join((kind, *folders[:1])) if kind == "unit" else kind
        item.add_marker(pytest.mark.xdist_group(group))
