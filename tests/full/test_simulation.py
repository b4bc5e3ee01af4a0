"""Seeds of the simulation at length, and proof that seeds find defects."""

from collections.abc import Callable
from itertools import count

import pytest

from simulation.damages import DAMAGES, Damage
from simulation.run import run_many
from unit.test_simulation import PARTS, SEEDS, explained

AT_LEAST = 1000
SECONDS = 480.0
DAMAGE_SEEDS = 1000
"""Among so many seeds, one finds each damage: the rarest, of a clock that jumps, is found by one in a hundred."""


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_acknowledged_write_is_lost_in_further_seeds(
    part: int, record_property: Callable[[str, object], None]
) -> None:
    summary = run_many(count(SEEDS + part, PARTS), at_least=AT_LEAST, seconds=SECONDS)
    record_property("summary", str(summary))
    assert not summary.failed, "\n".join(map(explained, summary.failed))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_defect_is_found_by_a_seed(damage: Damage, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(monkeypatch)
    assert run_many(range(DAMAGE_SEEDS), most_failures=1).failed
