"""Tests of the rules for the status of health checks and for the choice between weighted records."""

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.emulator.route53.answers import choose
from healthcare_dr.emulator.route53.check_status import ProbeResults, Streak, is_healthy, share_of
from healthcare_dr.emulator.route53.model import CHECKER_REGIONS, CheckConfig, Observation, Record

PICKS = 100_000


def record(region: str, weight: int | None, check_id: str | None = None) -> Record:
    return Record(
        name="api.clinic.example",
        type="CNAME",
        ttl=10,
        values=(f"{region}.example",),
        set_identifier=region,
        weight=weight,
        check_id=check_id,
    )


BOTH = (record("east", 70, "one"), record("west", 30, "two"))


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 10))
def test_threshold_of_consecutive_probes_changes_the_result(probes: list[bool], threshold: int) -> None:
    streak, expected = Streak(), True
    for number, success in enumerate(probes, start=1):
        streak = streak.after(success, threshold=threshold)
        last = probes[max(0, number - threshold) : number]
        if len(last) == threshold and len(set(last)) == 1:
            expected = success
        assert streak.healthy is expected


@pytest.mark.parametrize(("healthy", "expected"), [(0, False), (17, False), (18, False), (19, True), (100, True)])
def test_check_is_healthy_above_18_percent(healthy: int, expected: bool) -> None:
    check = CheckConfig(id="a", type="HTTPS")
    share = share_of([True] * healthy + [False] * (100 - healthy))
    assert is_healthy(check, {"a": check}, {"a": share}) is expected


@given(st.floats(0, 1), st.booleans())
def test_inverted_check_has_the_opposite_status(share: float, disabled: bool) -> None:
    plain = CheckConfig(id="a", type="HTTPS", disabled=disabled)
    inverted = CheckConfig(id="a", type="HTTPS", inverted=True, disabled=disabled)
    assert is_healthy(plain, {}, {"a": share}) is not is_healthy(inverted, {}, {"a": share})


def test_new_check_is_healthy() -> None:
    check = CheckConfig(id="a", type="HTTPS")
    assert is_healthy(check, {"a": check}, {})


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=8), st.integers(0, 9))
def test_calculated_check_counts_healthy_children(children: list[tuple[bool, bool, bool]], threshold: int) -> None:
    checks = {
        str(number): CheckConfig(id=str(number), type="HTTPS", disabled=disabled, inverted=inverted)
        for number, (_, disabled, inverted) in enumerate(children)
    }
    shares = {str(number): float(up) for number, (up, _, _) in enumerate(children)}
    check = CheckConfig(id="sum", type="CALCULATED", children=tuple(checks), child_threshold=threshold)
    expected = sum((disabled or up) != inverted for up, disabled, inverted in children)
    assert is_healthy(check, {**checks, "sum": check}, shares) is (expected >= threshold)


@pytest.mark.parametrize(("failing", "healthy"), [(1, True), (6, True), (7, False), (8, False)])
def test_checker_counts_before_its_first_probe(failing: int, healthy: bool) -> None:
    results, check = ProbeResults(), CheckConfig(id="a", type="HTTPS", threshold=1)
    for region in CHECKER_REGIONS[:failing]:
        results.record(check, Observation(region, "127.0.0.1", "Failure", 0.0), success=False)
    assert results.health({"a": check}) == {"a": healthy}
    assert results.statuses({"a": check})["a"].share == (8 - failing) / 8


def test_weights_are_shares_of_the_answers() -> None:
    random = Random(4)  # noqa: S311 - a fixed sequence
    east = sum(choose(BOTH, {}, random) is BOTH[0] for _ in range(PICKS))
    deviation = math.sqrt(PICKS * 0.7 * 0.3)
    assert abs(east - PICKS * 0.7) < 4 * deviation


@given(
    st.lists(st.tuples(st.integers(0, 255), st.booleans()), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_unhealthy_record_is_not_chosen_while_another_is_healthy(drawn: list[tuple[int, bool]], random: Random) -> None:
    records = [record(str(number), weight, str(number)) for number, (weight, _) in enumerate(drawn)]
    healthy = {str(number): up for number, (_, up) in enumerate(drawn)}
    chosen = choose(records, healthy, random)
    assert healthy[str(chosen.check_id)] or not any(healthy.values())
    weighted = any(weight for weight, up in drawn if up or not any(healthy.values()))
    assert chosen.weight or not weighted


@pytest.mark.trap(20)
def test_all_records_are_chosen_when_none_is_healthy() -> None:
    random = Random(4)  # noqa: S311 - a fixed sequence
    chosen = {choose(BOTH, {"one": False, "two": False}, random).set_identifier for _ in range(200)}
    assert chosen == {"east", "west"}


@pytest.mark.trap(21)
def test_record_without_a_check_is_healthy() -> None:
    random = Random(4)  # noqa: S311 - a fixed sequence
    records = (record("east", 255, "one"), record("west", 1))
    assert {choose(records, {"one": False}, random).set_identifier for _ in range(200)} == {"west"}


def test_weight_0_is_chosen_only_when_no_other_is_healthy() -> None:
    random = Random(4)  # noqa: S311 - a fixed sequence
    records = (record("east", 10, "one"), record("west", 0, "two"))
    assert {choose(records, {}, random).set_identifier for _ in range(200)} == {"east"}
    assert {choose(records, {"one": False}, random).set_identifier for _ in range(200)} == {"west"}
