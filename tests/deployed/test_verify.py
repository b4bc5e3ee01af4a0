"""`hdr verify` on the deployed platform: it is ready, and a damage is reported and prevents a restore."""

import json

import pytest

from healthcare_dr.ops.verify.checks import CATALOG
from support.damages import DAMAGES, WEST
from support.platform import Deployed
from support.verification import line_of, verified

READS = ("Get", "List", "Describe", "Head", "Query", "Simulate")


@pytest.mark.requirement("R2.2", "R6.1", "R6.2", "R7.1", "R7.2")
@pytest.mark.trap(7, 17, 21, 22, 23, 25, 28, 32, 33, 34, 41)
def test_platform_is_ready(beating: Deployed) -> None:
    done, operations = verified(beating)
    assert [line_of(finding) for finding in done.findings if finding.severity != "note"] == []
    assert done.ready
    assert set(done.checks) == {"reachable", *CATALOG}
    assert len(operations) > 40
    assert {name for name in operations if not name.partition(":")[2].startswith(READS)} == set()


def test_exit_code_follows_the_findings(beating: Deployed) -> None:
    assert beating.reported("verify")["ready"]
    with DAMAGES["suspended-versioning"].applied_to(beating):
        broken = beating.hdr("verify", "--only", "bucket-versioning", "--json")
        shown = beating.hdr("verify", "--only", "bucket-versioning", "--only", "bucket-closed")
    assert (broken.returncode, shown.returncode) == (1, 1)
    (finding,) = json.loads(broken.stdout)["findings"]
    assert (finding["check"], finding["severity"], finding["region"]) == ("bucket-versioning", "failure", WEST)
    assert "recovery would NOT work" in shown.stdout
    assert "R3.2" in shown.stdout
    assert "Making 2 checks of" in shown.stderr


def test_region_that_is_not_ready_is_not_restored(beating: Deployed) -> None:
    beating.reported("drain", WEST, "--no-wait")
    try:
        with DAMAGES["suspended-versioning"].applied_to(beating):
            refused = beating.hdr("restore", WEST, "--no-wait")
        assert refused.returncode == 1
        assert "bucket-versioning" in refused.stderr
        assert "hdr verify" in refused.stderr
        assert beating.reported("restore", WEST, "--no-wait")["changed"]
    finally:
        beating.hdr("restore", WEST, "--no-wait", "--force", "--reason", "the test is over")
