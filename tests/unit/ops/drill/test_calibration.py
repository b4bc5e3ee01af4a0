"""How many requests a drill sends on a machine that serves so many."""

import ssl
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healthcare_dr.ops.drill.load import calibration
from healthcare_dr.ops.drill.load.calibration import DEFAULT, FEWEST, from_served
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.load.resolver import Answer
from unit.ops.drill.regions import ADDRESSES, EAST, HOSTS, WEST, Region, Script, prober, until


@pytest.mark.parametrize(
    ("served", "rate", "reason"),
    [
        (30.0, 15.0, "half of the 30.0 requests per second that this machine served in 4 s"),
        (130.0, 20.0, "the most that is needed; half of the 130.0"),
        (40.0, 20.0, "half of the 40.0"),
        (10.0, 5.0, "half of the 10.0"),
        (6.0, 5.0, "the fewest that show something; half of the 6.0"),
        (0.0, 5.0, "the fewest that show something; half of the 0.0"),
    ],
)
def test_rate_is_half_of_what_is_served_within_bounds(served: float, rate: float, reason: str) -> None:
    found = from_served(served)
    assert (found.rate, found.served_per_second) == (rate, served)
    assert found.reason.startswith(reason)


@given(st.floats(0, 1000))
def test_rate_is_never_more_than_half_except_for_the_fewest(served: float) -> None:
    rate = from_served(served).rate
    assert FEWEST <= rate <= DEFAULT
    assert rate == FEWEST or rate <= served / 2


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "WARM_UP_SECONDS", 0.2)
    monkeypatch.setattr(calibration, "SECONDS", 1.0)


class HeldClock:
    """A clock that stands still while a calibration counts, until each region has been asked some times more."""

    def __init__(self, regions: dict[str, Region]) -> None:
        self._regions = regions
        self._hold_at = time.monotonic() + calibration.WARM_UP_SECONDS + calibration.SECONDS / 2
        self._asked: dict[str, int] | None = None
        self._held_seconds: float | None = None

    def __call__(self) -> float:
        now = time.monotonic()
        if self._held_seconds is None and now >= self._hold_at:
            asked = {name: len(region.seen) for name, region in self._regions.items()}
            self._asked = self._asked or asked
            if any(asked[name] < before + 5 for name, before in self._asked.items()):
                return self._hold_at
            self._held_seconds = now - self._hold_at
        return now - (self._held_seconds or 0.0)


def ends(regions: dict[str, Region]) -> list[Answer]:
    return [Answer(HOSTS[name], ADDRESSES[name], app.port, 60.0) for name, app in regions.items()]


@pytest.mark.usefixtures("brief")
def test_calibration_sends_the_mix_to_both_regions_and_leaves_no_samples(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    script, clock = Script(regions, EAST, 60), HeldClock(regions)
    generator = prober(script, trust, ledger, rate=None, regions=ends(regions), clock=clock)
    assert generator.calibration() is None
    generator.start()
    until(lambda: generator.calibration() is not None)
    found, samples = generator.calibration(), generator.samples()
    written = {write.region for write in ledger.writes()}
    until(lambda: bool(generator.samples()))
    generator.stop()
    assert found is not None
    assert found.served_per_second is not None
    assert found.served_per_second > 0
    assert len(samples) <= 1
    assert written == {EAST, WEST}
    numbers = [write.number for write in ledger.writes()]
    assert len(set(numbers)) == len(numbers), "two writes with one number cannot be told apart"


@pytest.mark.usefixtures("brief")
def test_machine_that_serves_nothing_is_asked_for_the_fewest(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    for region in regions.values():
        region.refused = 10**6
    generator = prober(Script(regions, EAST, 60), trust, ledger, rate=None, regions=ends(regions))
    generator.start()
    until(lambda: generator.calibration() is not None)
    generator.stop()
    found = generator.calibration()
    assert found is not None
    assert (found.rate, found.served_per_second) == (FEWEST, 0.0)


def test_calibration_is_stopped_at_once(regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger) -> None:
    for region in regions.values():
        region.hang = True
    generator = prober(Script(regions, EAST, 60), trust, ledger, rate=None, regions=ends(regions), timeout_seconds=600)
    generator.start()
    until(lambda: any(region.seen for region in regions.values()))
    generator.stop()
    assert generator.calibration() is None
    assert generator.samples() == ()


def test_given_rate_is_taken_as_it_is(regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger) -> None:
    generator = prober(Script(regions, EAST, 60), trust, ledger, rate=3)
    found = generator.calibration()
    assert found is not None
    assert (found.rate, found.reason) == (3, "given by the experiment or --rate")
