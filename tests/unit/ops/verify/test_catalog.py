"""Every check says what it is for, and the page says what the checks do."""

import re

import pytest
import verify_page

from healthcare_dr.errors import SettingsError
from healthcare_dr.ops.verify.catalog import CATALOG, SERVING, chosen
from healthcare_dr.ops.verify.check import Check
from healthcare_dr.ops.verify.runner import REACHABLE

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


def test_the_page_is_what_the_code_says() -> None:
    assert verify_page.PAGE.read_text(encoding="utf-8") == verify_page.page(), "write it anew: make generate"
    for name in CATALOG:
        assert f"| `{name}`" in verify_page.page()


@pytest.mark.parametrize("check", [REACHABLE, *CATALOG.values()], ids=lambda check: check.name)
def test_check_states_its_reason_and_fix(check: Check) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", check.name)
    assert check.numbers
    assert all(re.fullmatch(r"[RDC]\d(\.\d)?|trap \d+", number) for number in check.numbers)
    for text in (check.asks, check.why, check.mend):
        assert len(text) > 20
        assert "|" not in text
        assert "\n" not in text


def test_restore_makes_no_traffic_checks() -> None:
    assert {check.name for check in SERVING} & TRAFFIC == set()
    assert {"bucket-versioning", "functions-equal", "table-recovery", "key-enabled"} <= {c.name for c in SERVING}


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    assert [check.name for check in chosen(["records", "tags"])] == ["records", "tags"]
    assert len(chosen(None)) == len(CATALOG)
    with pytest.raises(SettingsError, match=r"there is no check nothing; there are endpoint, drain, .*state"):
        chosen(["records", "nothing"])
