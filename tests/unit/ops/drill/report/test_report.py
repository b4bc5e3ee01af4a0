"""The report: its text, its safety, and its charts."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from healthcare_dr.ops.charts import steps
from healthcare_dr.ops.drill.journal import Event, Journal, Milestones, Observation, Promise, Sample
from healthcare_dr.ops.drill.report.anomalies import explained
from healthcare_dr.ops.drill.report.charts import Axis, Band, Latency, axis, bands, latencies, outcomes
from healthcare_dr.ops.drill.report.page import write_report
from healthcare_dr.ops.drill.self_monitor import instrument_health
from unit.ops.drill.sample_journal import (
    EAST,
    FAULT,
    LATER,
    NASTY,
    V1,
    V2,
    V3,
    WEST,
    consistency,
    empty,
    journal,
)


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = self._style and tag != "style"

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.text += data + "\n"


def written(what: Journal, folder: Path) -> str:
    path = write_report(what, folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def charts(text: str) -> list[ElementTree.Element]:
    # The report is ours, and was made a moment ago.
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314


def request(**changes: object) -> Sample:
    made = Sample(
        at=0.5, seconds=0.1, longest_wait=0.1, kind="read", client=0, region=EAST, status=200, error=None, attempts=1
    )
    return replace(made, **changes)  # type: ignore[arg-type] # a JSON value or a fake


def test_first_line_states_what_was_measured_and_the_time_scale(tmp_path: Path) -> None:
    text = Page(written(journal(), tmp_path)).text.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines[1].startswith("Measured: recovery from the loss of us-east-1")
    assert "Label: embedded" in lines[1]
    assert "Ran 10 times faster: health checks and TTLs only." in lines[1]
    assert lines[1].endswith("TTLs only. Health checks were sent from 3 checker regions.")
    real = replace(journal(), settings={"time_scale": 1}, label="aws")
    assert "faster:" not in Page(written(real, tmp_path)).text
    assert "Label: aws" in Page(written(real, tmp_path)).text


def test_key_figures(tmp_path: Path) -> None:
    text = Page(written(journal(), tmp_path)).text
    for figure in (
        "Passed",
        "8.1 s",
        "limit < 30.0 s: kept; aim ≤ 6.0 s: missed",
        "4.0 s",
        "1.4 s",
        "66.7% of 162",
        "20.8%",
    ):
        assert figure in text


def test_missing_values_are_stated(tmp_path: Path) -> None:
    text = Page(written(empty(), tmp_path)).text
    assert text.count("not measured") == 4
    assert "Not started" in text
    way = Milestones(fault=FAULT)
    assert "not reached" in Page(written(replace(journal(), milestones=way, promises=()), tmp_path)).text


def test_anomaly_is_shown_with_the_operations_that_explain_it(tmp_path: Path) -> None:
    text = " ".join(Page(written(journal(), tmp_path)).text.split())
    assert "Checked: 1200 operations, 41 of them without a certain outcome; 20 records" in text
    assert f"Lost update in {EAST} Patient/p1: {V2} and {V3} both replaced {V1} in one region." in text
    assert f"30.100-30.200 s 1 {EAST} append 7 with If-Match {V1}: 200, version {V2}" in text
    assert "Histories were not checked" in Page(written(empty(), tmp_path)).text


def test_history_without_operations_is_stated(tmp_path: Path) -> None:
    nothing = replace(consistency(), operations=0, anomalies=())
    assert "There was nothing to check" in Page(written(replace(journal(), consistency=nothing), tmp_path)).text


def test_anomaly_is_explained_in_lines_of_text() -> None:
    unknown = replace(LATER, status=None, version=None, region=None)
    read = replace(LATER, kind="read", value=None, named=V2)
    (anomaly,) = consistency().anomalies
    assert list(explained([replace(anomaly, operations=(unknown, read)), replace(anomaly, region=None)])) == [
        f"lost update, Patient/p1 in {EAST}: {V2} and {V3} both replaced {V1} in one region",
        f"  30.150-30.300 s  client 2  no region  append 8 with If-Match {V1}: no response; it may have had an effect",
        f"  30.150-30.300 s  client 2  {EAST}  read with Minimum-Version {V2}: 200, version {V3}",
        f"lost update, Patient/p1: {V2} and {V3} both replaced {V1} in one region",
        f"  30.100-30.200 s  client 1  {EAST}  append 7 with If-Match {V1}: 200, version {V2}",
        f"  30.150-30.300 s  client 2  {EAST}  append 8 with If-Match {V1}: 200, version {V3}",
    ]


def test_text_of_a_journal_is_escaped(tmp_path: Path) -> None:
    nasty = replace(
        journal(),
        reason=NASTY,
        experiment={"title": NASTY, NASTY: [NASTY]},
        settings={NASTY: NASTY, "load": {NASTY: [NASTY, "\ud800"]}},
        regions=(NASTY, WEST),
        lost=(NASTY,),
        events=(Event(at=66, kind="undo", text=NASTY, region=NASTY),),
        observations=(Observation(at=1, checks={NASTY: True}, dns={NASTY: 1}, lag={NASTY: 1.0}),),
        samples=(request(region=NASTY, at=1), request(region=NASTY, at=2)),
        rolled_back=(NASTY, "\x00"),
    )
    text = written(nasty, tmp_path)
    page = Page(text)
    assert {"script", "img"}.isdisjoint(tag for tag, _ in page.elements)
    assert NASTY in page.text
    assert len(charts(text)) == 7


@pytest.mark.parametrize("what", [journal(), empty()], ids=["full", "empty"])
def test_report_has_no_external_references(tmp_path: Path, what: Journal) -> None:
    text = written(what, tmp_path)
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag != "script"
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src", "xlink:href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_chart_has_a_title_and_its_marks_are_inside(tmp_path: Path) -> None:
    found = charts(written(journal(), tmp_path))
    assert len(found) == 7
    for chart in found:
        assert [child.tag for child in chart][:2] == ["title", "desc"]
        assert chart[0].text
        assert chart[1].text
        inside(chart)
        assert len(chart.findall("g")) == 6, "fault, two undone, DNS changed, first and steady success"


def inside(chart: ElementTree.Element) -> None:
    _, _, width, height = (float(value) for value in chart.attrib["viewBox"].split())
    marks = [shape for shape in chart.iter() if "mark" in shape.get("class", "").split()]
    assert marks
    for mark in marks:
        if mark.tag == "rect":
            x, y, w, h = (float(mark.attrib[name]) for name in ("x", "y", "width", "height"))
            assert min(w, h) > 0
            points = [(x, y), (x + w, y + h)]
        else:
            points = [(float(x), float(y)) for x, y in (pair.split(",") for pair in mark.attrib["points"].split())]
            assert len(points) > 1
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": ()},
        {"observations": ()},
        {"milestones": None, "events": ()},
        {"seconds": 4000.0},
        {
            "seconds": 0.0,
            "samples": (request(seconds=0.0),),
            "observations": (),
            "readings": (),
            "milestones": None,
            "events": (),
        },
    ],
    ids=["no samples", "no observations", "no milestones", "long", "one sample"],
)
def test_journal_with_gaps_has_a_report(tmp_path: Path, changes: dict[str, object]) -> None:
    found = charts(written(replace(journal(), **changes), tmp_path))  # type: ignore[arg-type] # a JSON value or a fake
    assert found
    for chart in found:
        inside(chart)


def test_drill_that_did_not_start_has_no_empty_charts(tmp_path: Path) -> None:
    text = written(empty(), tmp_path)
    assert charts(text) == []
    assert "No requests were sent." in text


def test_request_counts_once() -> None:
    requests = [
        request(),
        request(status=503),
        request(status=429),
        request(status=None, error="ConnectError"),
        request(status=200, error="ConnectError"),
        request(status=500),
        request(status=None, error="ReadTimeout"),
    ]
    found = outcomes(requests, Axis(end=1.0, slot=1))
    assert found == {0: Counter(succeeded=1, refused=4, failed=2)}


def test_latency_is_by_nearest_rank() -> None:
    requests = [request(seconds=float(number)) for number in range(1, 201)]
    found = latencies(requests, Axis(end=1.0, slot=1))
    assert found == {0: Latency(p50=100.0, p99=198.0, max=200.0)}


def test_check_has_no_band_where_an_observation_lacks_it() -> None:
    def look(at: float, **checks: bool) -> Observation:
        return Observation(at=at, checks=checks, dns={}, lag={})

    looks = [look(1, a=True), look(2, a=True), look(3), look(4, a=False), look(6, a=True)]
    found = bands(looks, Axis(end=6.0, slot=1))
    assert found == {
        "a": [Band(start=1, end=3, healthy=True), Band(start=4, end=6.0, healthy=False)],
    }


def test_axis_covers_the_journal() -> None:
    assert axis(replace(journal(), seconds=1.0)) == Axis(end=90.0, slot=1)
    assert axis(replace(journal(), seconds=900.2)) == Axis(end=901.0, slot=4)


def test_ticks_are_round_and_reach_the_top() -> None:
    assert steps(20, 4) == [0, 5, 10, 15, 20]
    assert steps(21, 4) == [0, 10, 20, 30]
    assert steps(0, 4) == [0, 1]


def test_numbers_of_marks_do_not_overlap(tmp_path: Path) -> None:
    undone = tuple(Event(at=9.0 + number / 100, kind="undo", text=f"fault {number}") for number in range(7))
    for chart in charts(written(replace(journal(), events=undone), tmp_path)):
        places = [
            (float(text.attrib["x"]), float(text.attrib["y"]))
            for mark in chart.iter("g")
            if mark.attrib.get("class", "").startswith("when")
            for text in mark.iter("text")
        ]
        assert len(places) >= len(undone)
        assert not [
            (one, other)
            for index, one in enumerate(places)
            for other in places[index + 1 :]
            if abs(one[0] - other[0]) < 20 and abs(one[1] - other[1]) < 14
        ]


def test_recovery_card_agrees_with_the_verdict(tmp_path: Path) -> None:
    after = Promise(name="recovery after healing", limit="< 300.0 s", measured="12.0 s", kept=True)
    text = Page(written(replace(journal(), promises=(after,)), tmp_path)).text
    assert "12.0 s" in text
    assert "limit < 300.0 s: kept" in text
    text = Page(written(replace(journal(), promises=(replace(after, kept=False),)), tmp_path)).text
    assert "limit < 300.0 s: broken" in text
    assert "no recovery time is promised here" in Page(written(replace(journal(), promises=()), tmp_path)).text


def test_report_states_the_request_rate_and_its_reason(tmp_path: Path) -> None:
    text = Page(written(journal(), tmp_path)).text
    assert "Load: 18 requests per second: half of the 36.0 requests per second that this machine served in 4 s." in text
    unknown = Page(written(replace(journal(), settings={"rate": None, "time_scale": 1}), tmp_path)).text
    assert "Load:" not in unknown


def test_report_states_the_lateness_of_the_machine(tmp_path: Path) -> None:
    text = Page(written(journal(), tmp_path)).text
    assert "The machine was fast enough for the measurement: 1 of 89 readings were late." in text
    assert "1.20 s" in text
    assert "not measured" in Page(written(replace(journal(), instrument_health=instrument_health([])), tmp_path)).text
    late = tuple(replace(reading, send_seconds=0.9) for reading in journal().readings)
    found = replace(journal(), readings=late, instrument_health=instrument_health(late))
    text = Page(written(found, tmp_path)).text
    reason = "The machine was too slow for the measurement: the drill's clients sent late (up to 0.9 s, limit 0.25)"
    assert reason in text


def test_inconclusive_drill_shows_no_promise_as_broken(tmp_path: Path) -> None:
    promises = tuple(replace(promise, kept=None) for promise in journal().promises)
    text = Page(written(replace(journal(), outcome="inconclusive", promises=promises), tmp_path)).text
    assert "Inconclusive" in text
    assert "limit < 30.0 s: not judged; aim ≤ 6.0 s: not judged" in text
    assert "broken" not in text.split("What happened")[0]
