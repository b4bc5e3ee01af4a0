"""Run checks, and convert problems and missing responses into findings."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError

from healthcare_dr.ops.verify.check import Check, Problem
from healthcare_dr.ops.verify.live_target import ChangeRefusedError, LiveTarget
from healthcare_dr.ops.verify.runner import SEVERITIES, verify
from unit.ops.verify.fakes import ACCOUNT, EAST, WEST, live, refusal, sent

ME: dict[tuple[str, ...], Any] = {("sts", "get_caller_identity"): {"Account": ACCOUNT}}
DOWN = ConnectTimeoutError(endpoint_url="https://x")


def check(name: str, examine: Any, *, each_region: bool = True, both_regions: bool = False) -> Check:
    return Check(name=name, expects="a", why="w", numbers=("R1.1",), fix="m", each_region=each_region,
                 gates_restore=True, both_regions=both_regions, examine=examine)  # fmt: skip


def nothing(there: LiveTarget, region: str) -> Iterator[str]:
    del there, region
    yield from ()


def test_nothing_found_is_ready() -> None:
    done = verify(live(ME), [check("a", nothing)])
    assert done.ready
    assert done.findings == ()
    assert done.checks == ("reachable", "a")


def test_finding_states_place_reason_and_fix() -> None:
    done = verify(live(ME), [check("a", lambda _, region: [f"{region} is broken"] if region == WEST else [])])
    (finding,) = done.findings
    assert (finding.check, finding.severity, finding.region) == ("a", "failure", WEST)
    assert (finding.problem, finding.why, finding.numbers, finding.fix) == ("us-west-2 is broken", "w", ("R1.1",), "m")
    assert not done.ready
    assert done.document()["findings"][0]["problem"] == "us-west-2 is broken"


def test_check_of_the_platform_runs_once() -> None:
    done = verify(live(ME), [check("a", lambda _, region: [region], each_region=False)])
    assert [(finding.region, finding.problem) for finding in done.findings] == [(None, EAST)]


def test_only_notes_leave_the_target_ready() -> None:
    for severity in SEVERITIES:
        problem = Problem("p", severity)
        assert verify(live(ME), [check("a", lambda _, __, it=problem: [it])]).ready == (severity == "note")


def test_worst_finding_is_first() -> None:
    done = verify(live(ME), [check("a", lambda _, __: [Problem("p", severity) for severity in SEVERITIES[::-1]])])
    assert [finding.severity for finding in done.findings[::2]] == list(SEVERITIES)


def test_denied_request_is_unknown_and_keeps_earlier_findings() -> None:
    def examine(there: LiveTarget, region: str) -> Iterator[str]:
        yield "found before"
        there.request("kms", region, "describe_key", KeyId="k")

    answers = ME | {("kms", EAST, "describe_key"): refusal("AccessDenied"), ("kms", WEST, "describe_key"): {}}
    done = verify(live(answers), [check("a", examine)])
    (unknown,) = [finding for finding in done.findings if finding.severity == "unknown"]
    assert (unknown.region, unknown.service) == (EAST, "kms")
    assert "AccessDenied" in unknown.problem
    assert [finding.problem for finding in done.findings].count("found before") == 2


def test_response_of_another_form_is_unknown() -> None:
    def examine(there: LiveTarget, region: str) -> Iterator[str]:
        yield there.request("kms", region, "describe_key", KeyId="k")["KeyMetadata"]

    done = verify(live(ME | {("kms", "describe_key"): {}}), [check("a", examine)])
    assert {finding.severity for finding in done.findings} == {"unknown"}
    assert "unexpected form: KeyError" in done.findings[0].problem


def test_unresponsive_region_is_one_finding() -> None:
    def examine(there: LiveTarget, region: str) -> Iterator[str]:
        there.request("kms", region, "describe_key", KeyId="k")
        yield f"checked {region}"

    answers = ME | {("sts", WEST, "get_caller_identity"): DOWN, ("kms", "describe_key"): {}}
    there = live(answers)
    done = verify(there, [check("a", examine), check("both", lambda it, _: examine(it, WEST), each_region=False)])
    assert [(finding.check, finding.region, finding.severity) for finding in done.findings] == [
        ("a", EAST, "failure"), ("reachable", WEST, "unknown"), ("both", None, "unknown"),
    ]  # fmt: skip
    assert [region for service, region, *_ in sent(there) if service == "kms"] == [EAST]


def test_region_that_denies_the_request_is_reachable() -> None:
    assert verify(live({("sts", "get_caller_identity"): refusal("AccessDenied", 403)}), [check("a", nothing)]).ready


def test_credentials_of_another_account_are_a_failure() -> None:
    done = verify(live({("sts", "get_caller_identity"): {"Account": "999"}}), [check("a", nothing)])
    assert {(finding.check, finding.severity) for finding in done.findings} == {("reachable", "failure")}
    assert "account 999, but the platform is deployed to 123456789012" in done.findings[0].problem


def test_only_requested_regions_are_checked() -> None:
    done = verify(live(ME), [check("a", lambda _, region: [region])], regions=(WEST,))
    assert [finding.problem for finding in done.findings] == [WEST]


def test_checks_between_regions_run_for_both() -> None:
    done = verify(live(ME), [check("a", lambda _, region: [region], both_regions=True)], regions=(WEST,))
    assert [finding.problem for finding in done.findings] == [EAST, WEST]


def test_unresponsive_peer_is_reported_for_either_region() -> None:
    answers = ME | {("sts", EAST, "get_caller_identity"): DOWN}
    done = verify(live(answers), [check("a", nothing, both_regions=True)], regions=(WEST,))
    assert [(finding.check, finding.region) for finding in done.findings] == [("reachable", EAST)]


def test_slow_check_is_unknown_and_does_not_delay_others() -> None:
    never, ended = threading.Event(), threading.Event()

    def hang(there: LiveTarget, region: str) -> Iterator[str]:
        del there, region
        never.wait(60)
        ended.set()
        yield from ()

    done = verify(live(ME), [check("slow", hang), check("a", lambda _, region: [region])], limit_seconds=0.5)
    assert not ended.is_set()
    never.set()
    assert sorted((finding.check, finding.severity) for finding in done.findings) == [
        ("a", "failure"), ("a", "failure"), ("slow", "unknown"), ("slow", "unknown"),
    ]  # fmt: skip


def test_progress_reports_each_result() -> None:
    reports: list[tuple[int, int, str]] = []
    verify(live(ME), [check("a", nothing)], on_progress=lambda *report: reports.append(report))
    assert [(done, total) for done, total, name in reports if name == "a"] == [(1, 2), (2, 2)]


def test_defect_of_a_check_is_raised() -> None:
    def change(there: LiveTarget, region: str) -> list[str]:
        del there
        raise ChangeRefusedError(region)

    with pytest.raises(ChangeRefusedError):
        verify(live(ME), [check("a", change)])
