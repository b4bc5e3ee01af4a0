"""Decide by the checks of `hdr verify` whether a region may receive traffic again."""

from collections.abc import Callable
from typing import Final

from healthcare_dr.ops.verify.catalog import RESTORE_CHECKS
from healthcare_dr.ops.verify.check import Verification
from healthcare_dr.ops.verify.live_target import LiveTarget
from healthcare_dr.ops.verify.runner import verify

LIMIT_SECONDS: Final = 30.0
# Restore must not depend on control planes: their findings count, but a missing response is only reported.
CONTROL_PLANES: Final = ("iam", "lambda", "route53")


def verified(live: LiveTarget, region: str, say: Callable[[str], None]) -> list[str]:
    """Return one line with the reasons why the data and the service of `region` are not ready; takes at most 30 s."""
    say(f"asking whether {region} is ready ({len(RESTORE_CHECKS)} checks of `hdr verify`)")
    return reasons(verify(live, RESTORE_CHECKS, regions=(region,), limit_seconds=LIMIT_SECONDS), say)


def reasons(done: Verification, say: Callable[[str], None]) -> list[str]:
    """Return the first finding that counts and the number of others. Findings that a control plane left unknown are
    only reported.
    """
    against = []
    for finding in done.findings:
        if finding.severity == "unknown" and finding.service in CONTROL_PLANES:
            say(f"not asked: {finding.check}, since {finding.service} does not answer")
        elif finding.severity != "note":
            against.append(finding)
    if not against:
        return []
    more = f", and {len(against) - 1} more" if len(against) > 1 else ""
    return [f"{against[0].check}: {against[0].problem}{more}; `hdr verify` lists all"]
