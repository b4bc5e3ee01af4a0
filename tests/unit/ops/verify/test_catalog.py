"""Tests of the catalog of checks."""

import re

import pytest

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.verify.check import Check
from healthcare_dr.ops.verify.checks import CATALOG, RESTORE_CHECKS, select_checks
from healthcare_dr.ops.verify.runner import REACHABLE
from support.damages import DAMAGES

TRAFFIC = {
    "endpoint",
    "drain",
    "health-checks",
    "health-verdict",
    "records",
    "shared-name",
    "delegation",
    "certificate",
}


@pytest.mark.parametrize("check", [REACHABLE, *CATALOG.values()], ids=lambda check: check.name)
def test_check_states_its_reason_and_fix(check: Check) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", check.name)
    assert check.numbers
    assert all(re.fullmatch(r"[RDC]\d(\.\d)?|trap \d+", number) for number in check.numbers)
    for text in (check.expects, check.why, check.fix):
        assert len(text) > 20
        assert "|" not in text
        assert "\n" not in text


def test_restore_makes_no_traffic_checks() -> None:
    assert {check.name for check in RESTORE_CHECKS} & TRAFFIC == set()
    assert {"bucket-versioning", "functions-equal", "table-recovery", "key-enabled"} <= {c.name for c in RESTORE_CHECKS}


def test_unknown_check_is_refused_with_the_known_names() -> None:
    assert [check.name for check in select_checks(["records", "tags"])] == ["records", "tags"]
    assert len(select_checks(None)) == len(CATALOG)
    with pytest.raises(SettingsError, match=r"there is no check nothing; there are alarms, topic, .*shared-name"):
        select_checks(["records", "nothing"])


def test_every_check_has_a_damage_that_it_finds() -> None:
    """`make test-full` applies the damages. Unit tests cover the checks that the embedded AWS cannot damage."""
    elsewhere = {"table-active", "table-stream", "documents-failed", "quotas", "state", "delegation", "certificate",
                 "webhooks"}  # fmt: skip
    assert {damage.check for damage in DAMAGES.values()} == CATALOG.keys() - elsewhere
