"""Fixtures of the tests of `hdr slo`."""

import pytest

from healthcare_dr.ops.slo import model


@pytest.fixture(autouse=True)
def few_runs_of_each_swing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate fewer years for each swing: they take most of the time, and few show the direction of a change."""
    monkeypatch.setattr(model, "SWING_RUNS", 100)
