"""What a drill measures of itself and of the machine."""

import contextlib
import ssl
import time
from pathlib import Path

from healthcare_dr.ops.drill.load.client import IN_FLIGHT
from healthcare_dr.ops.drill.load.ledger import Ledger
from healthcare_dr.ops.drill.self_monitor import Lateness, Probe, Processors, SelfMonitor
from unit.ops.drill.regions import ADDRESSES, EAST, Region, Script, prober, until

BEFORE = "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 1 1 1\n"


def test_processor_time_is_used_and_stolen_since_the_reading_before(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text(BEFORE, encoding="ascii")
    processors = Processors(stat)
    # user +20, system +10, idle +40, iowait +10, steal +20; the guest's 5 are part of user.
    stat.write_text("cpu  120 0 110 840 10 0 0 20 5 0\n", encoding="ascii")
    assert processors.percentages() == (30.0, 20.0)
    assert processors.percentages() == (None, None), "no time has passed"


def test_machine_without_proc_reports_nothing(tmp_path: Path) -> None:
    assert Processors(tmp_path / "missing").percentages() == (None, None)
    (tmp_path / "odd").write_text("cpu 1 2\n", encoding="ascii")
    assert Processors(tmp_path / "odd").percentages() == (None, None)


def probe(region: Region, trust: ssl.SSLContext) -> Probe:
    return Probe(url=f"https://{ADDRESSES[EAST]}:{region.port}/health", trust=trust, clock=time.monotonic)


def test_probe_measures_how_long_a_trivial_request_takes(regions: dict[str, Region], trust: ssl.SSLContext) -> None:
    made = probe(regions[EAST], trust)
    made.start()
    until(lambda: (seconds := made.worst()) is not None and 0.0 <= seconds < 5.0)
    made.stop()


def test_probe_shows_that_an_answer_is_being_waited_for(regions: dict[str, Region], trust: ssl.SSLContext) -> None:
    regions[EAST].hang = True
    made = probe(regions[EAST], trust)
    made.start()
    until(lambda: (made.worst() or 0.0) > 0.5)
    regions[EAST].hang = False
    until(lambda: (made.worst() or 1.0) < 0.5)
    made.stop()


def test_probe_of_nothing_that_listens_measures_an_outage_and_no_lateness(
    regions: dict[str, Region], trust: ssl.SSLContext
) -> None:
    nowhere = Region(EAST)
    nowhere.port = 1
    made = probe(nowhere, trust)
    made.start()
    until(lambda: made.worst() is None)
    made.stop()
    assert made.worst() is None


def test_reading_holds_every_instrument(regions: dict[str, Region], trust: ssl.SSLContext, tmp_path: Path) -> None:
    began = time.monotonic()
    stat = tmp_path / "stat"
    stat.write_text(BEFORE, encoding="ascii")
    processors = Processors(stat)
    stat.write_text("cpu  200 0 100 800 0 0 0 0 0 0\n", encoding="ascii")
    monitor = SelfMonitor(
        lateness=lambda: Lateness(send=0.7, loop=0.2),
        probes={"edge_seconds": probe(regions[EAST], trust)},
        clock=lambda: time.monotonic() - began,
        processors=processors,
    )
    monitor.start()
    until(lambda: any(reading.edge_seconds is not None for reading in monitor.readings()))
    monitor.stop()
    first = monitor.readings()[0]
    assert (first.send_seconds, first.loop_seconds, first.busy_percent, first.stolen_percent) == (0.7, 0.2, 100.0, 0.0)
    assert first.services_seconds is None
    assert [reading.at for reading in monitor.readings()] == sorted(reading.at for reading in monitor.readings())


def test_request_to_a_region_that_hangs_is_no_lateness_of_its_client(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    regions[EAST].hang = True
    # More is due than one client may have in flight: the rest waits for its turn, which is the region's doing.
    generator = prober(Script(regions, EAST, 60), trust, ledger, rate=50, clients=1, timeout_seconds=600)
    generator.start()
    until(lambda: len(regions[EAST].seen) >= IN_FLIGHT)
    generator.lateness()
    until(lambda: (since := generator.waiting_since()) is not None and time.monotonic() - since > 4.0)
    late = generator.lateness()
    generator.stop()
    assert late.send is not None, "a request that waits for its turn is begun"
    assert late.send < 2.0
    assert generator.lateness().send is None, "lateness is of the time since it was asked before"


def test_event_loop_that_is_blocked_is_late_while_it_is(
    regions: dict[str, Region], trust: ssl.SSLContext, ledger: Ledger
) -> None:
    blocked: list[float] = []
    script = Script(regions, EAST, 0)

    async def block(_: str) -> object:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            time.sleep(0.02)
            blocked.append((generator.lateness()).loop or 0.0)
        raise OSError("enough")

    script.resolve = block  # type: ignore[method-assign, assignment]
    generator = prober(script, trust, ledger)
    generator.start()
    until(lambda: bool(blocked) and max(blocked) > 0.5)
    with contextlib.suppress(OSError):
        generator.stop()
