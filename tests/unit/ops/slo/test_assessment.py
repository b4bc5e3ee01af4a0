"""Whether measurements and assumptions support an availability target."""

from dataclasses import replace
from pathlib import Path

import pytest

from healthcare_dr.ops.slo.assessment import assess, costs
from healthcare_dr.ops.slo.assumptions import Assumptions, defaults
from healthcare_dr.ops.slo.budget import YEAR, budget, expected_availability
from healthcare_dr.ops.slo.figure import losses
from healthcare_dr.ops.slo.measured import RecoveryTimes, given, of_journals
from healthcare_dr.ops.slo.model import RTO, Scenario, events, swings
from unit.ops.slo.journals import journal, left

ASSUMED = defaults()
BENIGN = ASSUMED.with_values(
    {
        "failover_fails": 0,
        "both_regions_share": 0,
        "dns_outages_per_year": 0,
        "idp_outages_per_year": 0,
        "bad_changes_per_year": 0,
    },
    source="a test",
)
MANY = given([45.0] * 500, date="2026-11-24")


def of(name: str, assumptions: Assumptions = ASSUMED, fails: float = 0.1) -> tuple[float, float]:
    """Return the yearly rate of an event, and its cost."""
    (found,) = (e for e in events(assumptions, (30, 60), failover_fails=fails) if e.name == name)
    return found.per_year, found.expected_seconds


def test_every_loss_of_a_region_is_counted_once() -> None:
    assert of("primary region lost, failover") == pytest.approx((0.6 * 0.98 * 0.9, 45 * 0.7))
    assert of("primary region lost, no failover") == pytest.approx((0.6 * 0.98 * 0.1, 9.25 * 3600 * 0.7))
    assert of("secondary region lost, failover") == pytest.approx((0.6 * 0.98 * 0.9, 45 * 0.3))
    assert of("secondary region lost, no failover") == pytest.approx((0.6 * 0.98 * 0.1, 9.25 * 3600 * 0.3))
    by_chance = 2 * 0.6 * 0.6 * 9.25 / 8760
    assert of("both regions lost at once") == pytest.approx((0.6 * 0.02 + by_chance, 9.25 * 3600))


def test_shorter_outages_cost_less_and_overlap_less_often() -> None:
    half = ASSUMED.with_values({"outage_length": 0.5}, source="a test")
    whole, shorter = of("primary region lost, no failover"), of("primary region lost, no failover", half)
    assert shorter == pytest.approx((whole[0], whole[1] / 2))
    assert of("both regions lost at once", half)[0] == pytest.approx(0.6 * 0.02 + 0.6 * 0.6 * 9.25 / 8760)
    assert of("primary region lost, failover", half) == of("primary region lost, failover")


def test_shared_outages_count_fully_and_brief_ones_by_share() -> None:
    assert of("DNS does not respond") == pytest.approx((0.05, 3600))
    assert of("identity provider issues no tokens") == pytest.approx((0.5, 3600 * 0.5))
    assert of("a change breaks both regions") == pytest.approx((0.5, 900))
    assert of("primary region fails too briefly") == pytest.approx((6, 20 * 0.7))
    assert of("secondary region fails too briefly") == pytest.approx((6, 20 * 0.3))


def test_nothing_is_claimed_without_a_measurement() -> None:
    found = assess(RecoveryTimes(trials=()), BENIGN, seed=1, runs=100)
    assert not found.carried
    assert found.verdict.startswith("Nothing is claimed: no recovery was measured")
    assert (found.label, found.spread, found.expected_percent, found.failover_fails) == (None, None, None, None)
    assert (found.costs, found.swings, found.recoveries) == ((), (), ())
    assert [(b.seconds, b.failovers) for b in found.budgets] == [(pytest.approx(259.2), None), (3153.6, None)]


def test_nothing_is_claimed_from_sped_up_drills(tmp_path: Path) -> None:
    found = assess(of_journals(left(tmp_path, journal(time_scale=20))), BENIGN, seed=1, runs=100)
    assert not found.carried
    assert found.verdict.startswith("Nothing is claimed")
    assert found.trials == 1


def test_benign_assumptions_support_the_target(tmp_path: Path) -> None:
    drills = of_journals(left(tmp_path, journal()))
    carried = assess(replace(drills, trials=drills.trials * 500), BENIGN, seed=1, runs=1000)
    assert carried.carried
    assert carried.label == "embedded"
    assert carried.verdict.startswith("99.99 % is supported (embedded): ")
    assert any("embedded AWS is not AWS" in reason for reason in carried.reasons)
    assert assess(MANY, BENIGN, seed=1, runs=1000).verdict.startswith("99.99 % is supported (given): ")


@pytest.mark.parametrize(
    "worse",
    [
        {"dns_outages_per_year": 0.5},
        {"both_regions_share": 0.2},
        {"failover_fails": 0.1},
        {"idp_outages_per_year": 2.0, "idp_share": 1.0},
        {"bad_changes_per_year": 1.0, "bad_change_minutes": 60.0},
        {"blips_per_year": 52.0, "blip_seconds": 90.0},
    ],
)
def test_any_worse_assumption_can_break_the_target(worse: dict[str, float]) -> None:
    found = assess(MANY, BENIGN.with_values(worse, source="a test"), seed=1, runs=1000)
    assert not found.carried
    assert found.verdict.startswith("99.99 % is not supported (given): ")


def test_fifth_percentile_decides() -> None:
    edge = BENIGN.with_values({"dns_outages_per_year": 0.045}, source="a test")
    over = BENIGN.with_values({"dns_outages_per_year": 0.06}, source="a test")
    for assumptions, carried in ((edge, True), (over, False)):
        found = assess(MANY, assumptions, seed=1, runs=10_000)
        assert found.spread is not None
        assert found.carried is carried
        assert (found.spread.percentiles[5] >= 99.99) is carried
        assert (found.spread.years_within >= 0.95) is carried
        assert list(found.spread.percentiles.values()) == sorted(found.spread.percentiles.values())


def test_few_drills_do_not_support_the_target() -> None:
    few = assess(given([45.0], date="2026-11-24"), BENIGN, seed=1, runs=1000)
    assert few.failover_fails == pytest.approx(1 / 3)
    assert not few.carried
    assert any("Failovers tried: 1, of which 0 did not happen" in reason for reason in few.reasons)
    many = assess(MANY, ASSUMED, seed=1, runs=100)
    assert many.failover_fails == 0.05
    assert not any("Failovers tried" in reason for reason in many.reasons)


def test_failed_failovers_are_reported_for_every_target() -> None:
    miss = MANY.trials[0].model_copy(update={"seconds": None})
    nothing = assess(RecoveryTimes(trials=(miss,) * 3), BENIGN, seed=1, runs=100)
    assert nothing.verdict.startswith("Nothing is claimed")
    assert nothing.reasons == (
        "Failovers tried: 3, of which 3 did not happen. As that shows, 80.0% of them may fail. More drills narrow it.",
    )
    assert nothing.curve[0].all_costs > assess(RecoveryTimes(trials=()), BENIGN, seed=1, runs=100).curve[0].all_costs
    few = assess(RecoveryTimes(trials=(*MANY.trials, miss)), ASSUMED, seed=1, runs=100)
    assert few.failover_fails == 0.05
    assert "Failovers tried: 501, of which 1 did not happen." in few.reasons


def test_close_result_states_that_the_seed_matters() -> None:
    edge = BENIGN.with_values({"dns_outages_per_year": 0.05}, source="a test")
    few, many = (assess(MANY, edge, seed=1, runs=runs) for runs in (100, 100_000))
    assert few.spread is not None
    assert few.spread.years_within == pytest.approx(0.95, abs=0.04)
    assert "So near 95 % another seed may decide otherwise: more --runs narrow it." in few.reasons
    assert not any("another seed" in reason for reason in many.reasons)


def test_recovery_beyond_the_range_extends_it() -> None:
    for recoveries, ends in (((45,), (10, 300)), ((5, 400), (5, 400))):
        case = Scenario(assumptions=BENIGN, recoveries=recoveries, may_fail=0)
        (found,) = (one for one in swings(case, budget=budget(0.9999, YEAR), seed=1) if one.name == RTO)
        assert (found.low, found.high) == ends


def test_slow_recoveries_break_the_target() -> None:
    assert not assess(given([5000.0] * 500, date="x"), BENIGN, seed=1, runs=1000).carried


def test_budget_is_computed_for_the_slowest_recovery() -> None:
    found = assess(given([20, 60], date="2026-11-24"), ASSUMED, seed=1, runs=100)
    assert [b.failovers for b in found.budgets] == [6, 75]
    assert {p.recovery_seconds: p.failovers_in_30_days for p in found.curve} == {
        10: 37,
        30: 12,
        60: 6,
        120: 3,
        180: 2,
        300: 1,
    }
    idle = ASSUMED.with_values({"primary_share": 0}, source="a test")
    assert [b.failovers for b in assess(MANY, idle, seed=1, runs=100).budgets] == [None, None]


def test_long_run_average_is_the_sum_of_the_costs() -> None:
    found = assess(MANY, ASSUMED, seed=1, runs=100)
    case = Scenario(assumptions=ASSUMED, recoveries=MANY.recoveries, may_fail=MANY.bound)
    total = sum(cost.seconds_a_year for cost in found.costs)
    assert total == pytest.approx(case.lost_seconds)
    assert found.expected_percent == pytest.approx(100 * expected_availability(case.events))
    assert [cost.seconds_a_year for cost in found.costs] == sorted(
        (cost.seconds_a_year for cost in costs(case)), reverse=True
    )


def test_same_seed_gives_the_same_result() -> None:
    first, again, other = (assess(MANY, ASSUMED, seed=seed, runs=300) for seed in (1, 1, 2))
    assert first == again
    assert first.spread != other.spread


def test_largest_swing_comes_first() -> None:
    case = Scenario(assumptions=ASSUMED, recoveries=(45,), may_fail=0)
    found = swings(case, budget=budget(0.9999, YEAR), seed=1)
    assert {swing.name for swing in found} == {*ASSUMED.inputs, RTO}
    assert [swing.width for swing in found] == sorted((swing.width for swing in found), reverse=True)
    assert found[0].name == "idp_outages_per_year"
    assert found[0].lost_high - found[0].lost_low == pytest.approx(4 * 1800)
    for swing in found:
        if swing.name != "primary_share":
            assert swing.lost_low <= case.lost_seconds <= swing.lost_high, swing.name
    by_name = {swing.name: swing for swing in found}
    assert by_name["idp_outages_per_year"].within_low > by_name["idp_outages_per_year"].within_high


def test_bound_by_the_trials_is_one_end_of_the_swing() -> None:
    few = given([45.0], date="2026-11-24")
    (found,) = (s for s in assess(few, ASSUMED, seed=1, runs=100).swings if s.name == "failover_fails")
    assert [found.value, found.low, found.high] == pytest.approx([1 / 3, 0, 1 / 3])
    assert found.lost_low < found.lost_high


def test_groups_of_the_figure_contain_every_cost() -> None:
    for seconds, groups in losses(ASSUMED, may_fail=0.2).items():
        case = Scenario(assumptions=ASSUMED, recoveries=(seconds,), may_fail=0.2)
        assert sum(groups.values()) == pytest.approx(case.lost_seconds)
