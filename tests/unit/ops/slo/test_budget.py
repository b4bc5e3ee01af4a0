"""Error budgets, and the cost of events."""

import math
from datetime import timedelta

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.slo.budget import (
    MONTH,
    YEAR,
    Event,
    Outcomes,
    affordable,
    budget,
    expected_availability,
    expected_cost,
    simulate,
)

NAN = float("nan")


def event(*, per_year: float = 4, recoveries: tuple[float, ...] = (30, 60, 90), share: float = 0.7) -> Event:
    return Event(name="region lost", per_year=per_year, recovery_seconds=recoveries, traffic_share=share)


@pytest.mark.parametrize(
    ("availability", "period", "seconds"),
    [(0.9999, MONTH, 259.2), (0.9999, YEAR, 3153.6), (0.999, MONTH, 2592), (1, YEAR, 0), (0, MONTH, 2_592_000)],
)
def test_budget_is_the_unavailable_part_of_the_period(availability: float, period: timedelta, seconds: float) -> None:
    assert budget(availability, period).total_seconds() == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    ("allowed", "recovery", "share", "count"),
    [(259.2, 60, 0.7, 6), (259.2, 60, 1.0, 4), (259.2, 300, 1.0, 0), (3153.6, 60, 0.7, 75), (0.3, 0.1, 1.0, 3)],
)
def test_budget_allows_whole_failovers(allowed: float, recovery: float, share: float, count: int) -> None:
    times = affordable(timedelta(seconds=allowed), recovery=timedelta(seconds=recovery), traffic_share=share)
    assert times == count


def test_cost_is_rate_times_mean_recovery_times_share() -> None:
    events = [event(), event(per_year=1, recoveries=(100,), share=1)]
    assert expected_cost(events).total_seconds() == pytest.approx(4 * 60 * 0.7 + 100)
    assert expected_cost(events, YEAR / 2).total_seconds() == pytest.approx((4 * 60 * 0.7 + 100) / 2)
    assert expected_availability(events) == pytest.approx(1 - 268 / YEAR.total_seconds())
    assert expected_availability([]) == 1
    assert expected_availability([event(per_year=1e9)]) == 0


def test_simulated_mean_equals_the_expected_cost() -> None:
    events = [event(), event(per_year=1, recoveries=(100,), share=1)]
    costs = simulate(events, seed=7, runs=20_000).seconds
    # The standard error is about 1.
    assert math.fsum(costs) / len(costs) == pytest.approx(268, abs=6)
    assert list(costs) == sorted(costs)


def test_events_are_poisson_distributed() -> None:
    outcomes = simulate([event(per_year=1, recoveries=(1,), share=1)], seed=7, runs=20_000)
    for most, share in ((0, math.exp(-1)), (1, 2 * math.exp(-1)), (2, 2.5 * math.exp(-1))):
        assert outcomes.share_within(timedelta(seconds=most)) == pytest.approx(share, abs=0.02)


def test_shorter_period_has_fewer_events() -> None:
    costs = simulate([event(per_year=12, recoveries=(1,), share=1)], seed=7, runs=20_000, period=YEAR / 12).seconds
    assert math.fsum(costs) / len(costs) == pytest.approx(1, abs=0.05)


def test_seed_determines_the_simulation() -> None:
    first = simulate([event()], seed=1, runs=200)
    assert simulate([event()], seed=1, runs=200) == first
    assert simulate([event()], seed=2, runs=200) != first


def test_period_costs_at_most_its_length() -> None:
    outcomes = simulate([event(recoveries=(1e9,))], seed=1, runs=50)
    assert outcomes.percentile(100) == YEAR.total_seconds()


def test_percentiles_are_by_nearest_rank() -> None:
    outcomes = Outcomes((1, 2, 3, 4))
    assert [outcomes.percentile(percent) for percent in (1, 25, 26, 50, 75.1, 100)] == [1, 1, 2, 2, 4, 4]
    assert outcomes.share_within(timedelta(seconds=3)) == 0.75


@pytest.mark.parametrize("wrong", [-0.1, 1.1, NAN])
def test_shares_out_of_range_are_rejected(wrong: float) -> None:
    with pytest.raises(SettingsError, match="no share"):
        budget(wrong)
    with pytest.raises(SettingsError, match="no share"):
        affordable(MONTH, recovery=MONTH, traffic_share=wrong)
    with pytest.raises(SettingsError, match="no share"):
        event(share=wrong)


@pytest.mark.parametrize("wrong", [-1, math.inf, NAN])
def test_events_out_of_range_are_rejected(wrong: float) -> None:
    with pytest.raises(SettingsError, match="no rate"):
        event(per_year=wrong)
    with pytest.raises(SettingsError, match="recovery time"):
        event(recoveries=(1, wrong))


def test_meaningless_input_is_rejected() -> None:
    with pytest.raises(SettingsError, match="recovery time"):
        event(recoveries=())
    with pytest.raises(SettingsError, match="costs nothing"):
        affordable(MONTH, recovery=timedelta(0), traffic_share=1)
    with pytest.raises(SettingsError, match="at least 1"):
        simulate([event()], seed=1, runs=0)
    for percent in (0, 100.1, NAN):
        with pytest.raises(SettingsError, match="percentile"):
            Outcomes((1,)).percentile(percent)
