"""The figure of `hdr slo`: a document of its own that shows measured recovery times."""

import xml.etree.ElementTree as ET

from healthcare_dr.ops.slo.assumptions import defaults
from healthcare_dr.ops.slo.budget import MONTH
from healthcare_dr.ops.slo.figure import affordances, figure
from healthcare_dr.ops.slo.measured import RecoveryTimes, given

SVG = "{http://www.w3.org/2000/svg}"


def drawn(measured: RecoveryTimes) -> ET.Element:
    return ET.fromstring(figure(defaults(), measured, percent=99.99))  # noqa: S314 - our own


def words(root: ET.Element) -> str:
    return " | ".join(found.text or "" for found in root.iter(f"{SVG}text"))


def test_figure_has_no_external_references() -> None:
    text = figure(defaults(), given([45], date="2026-11-24"), percent=99.99)
    assert "href" not in text
    assert "<style" not in text
    assert "<script" not in text
    assert text.count("http") == 1, "only the XML namespace"


def test_without_a_measurement_there_are_no_dots() -> None:
    root = drawn(RecoveryTimes(trials=()))
    assert list(root.iter(f"{SVG}circle")) == []
    assert "No recovery was measured." in words(root)
    assert "what 99.99 % allows in a year: 3,153.6 s" in words(root)


def test_measured_recoveries_are_dots_with_label_and_date() -> None:
    root = drawn(given([45, 52.5, 900], date="2026-11-24"))
    assert len(list(root.iter(f"{SVG}circle"))) == 4, "two within the axis, in two curves"
    assert "3 measured recoveries (given), 2026-11-24" in words(root)
    lower, upper = sorted(float(dot.get("cx", "")) for dot in root.iter(f"{SVG}circle"))[::2]
    assert 64 < lower < upper < 424


def test_shapes_are_within_the_figure() -> None:
    root = drawn(given([10, 300], date="2026-11-24"))
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for shape in root.iter():
        for pair in shape.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_same_numbers_give_the_same_figure() -> None:
    measured = given([45], date="2026-11-24")
    assert figure(defaults(), measured, percent=99.99) == figure(defaults(), measured, percent=99.99)


def test_curve_is_that_of_the_error_budget() -> None:
    afforded = affordances(defaults(), 99.99, MONTH)
    assert (afforded[60], afforded[300]) == (6, 1)
    assert list(afforded.values()) == sorted(afforded.values(), reverse=True)
