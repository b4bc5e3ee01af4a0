"""What recovery times show, wherever they come from."""

from typing import Any

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.slo.measured import LONGEST, Trial, given, of_trials


def trial(**changed: Any) -> Trial:
    told = {"seconds": 45.0, "label": "aws", "date": "2026-11-24", "experiment": "refused"}
    return Trial.model_validate(told | changed)


def test_given_times_are_labelled_given() -> None:
    found = given([50, 40], date="2026-11-24")
    assert (found.recoveries, found.label) == ((40, 50), "given")
    for wrong in (-1, LONGEST + 1, float("nan"), float("inf")):
        with pytest.raises(SettingsError, match="no recovery time"):
            given([wrong], date="2026-11-24")


def test_few_failovers_prove_little() -> None:
    shares = [given([45.0] * count, date="2026-11-24").may_fail for count in (0, 1, 8, 98)]
    assert shares == [1 / 2, 1 / 3, 1 / 10, 1 / 100]
    missed = of_trials([trial(seconds=None)] * 3)
    assert missed.missed == 3
    assert missed.may_fail == missed.bound == 4 / 5


def test_without_trials_the_assumption_is_unchanged() -> None:
    assert given([], date="2026-11-24").bound == 0


def test_sped_up_drills_are_listed_with_their_experiment() -> None:
    found = of_trials([trial(), trial(time_scale=10)])
    assert list(found.recoveries) == [45]
    assert found.ignored == ("refused: ran 10 times faster: it shows that a failover happens, not how long it takes",)
