"""`hdr drill`: what is refused before anything is broken, and what is told without a platform."""

import json

from unit.command import Run, only_line


def test_a_drill_that_aws_cannot_play_is_refused_before_anything_is_asked(hdr: Run) -> None:
    result = hdr("drill", "region-blackhole", "--target", "aws")
    assert result.exit_code == 2
    assert only_line(result).startswith("hdr: AWS cannot play blackhole: it can play throttled, denied")


def test_a_drill_on_aws_needs_a_delegated_domain(hdr: Run) -> None:
    result = hdr("drill", "api-throttled", "--target", "aws")
    assert result.exit_code == 2
    assert "HDR_DNS_DELEGATED=true" in only_line(result)


def test_the_shipped_drills_are_listed(hdr: Run) -> None:
    assert "region-refused " in hdr("drill", "list").stdout
    assert {"name", "title", "expect"} == set(json.loads(hdr("drill", "list", "--json").stdout)[0])
    assert json.loads(hdr("drill", "schema").stdout)["properties"]["method"]
