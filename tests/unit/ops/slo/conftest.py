"""What the tests of `hdr slo` share."""

import pytest

from healthcare_dr.ops.slo import model


@pytest.fixture(autouse=True)
def few_runs_of_each_swing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate fewer years for each swing: which way a result moves shows with these, and they are most of the work."""
    monkeypatch.setattr(model, "SWING_RUNS", 100)
