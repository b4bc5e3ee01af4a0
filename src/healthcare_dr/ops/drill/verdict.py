"""The verdict: what was promised against what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from healthcare_dr.ops.drill.experiment import Expectation
from healthcare_dr.ops.drill.healing import Healing
from healthcare_dr.ops.drill.journal import Condition, ErrorBudget, Requests
from healthcare_dr.ops.drill.model import Milestones, Missing, Promise

RTO_SECONDS: Final = 300.0
AIM_SECONDS: Final = 60.0
RPO_SECONDS: Final = 60.0
HEALTH: Final = "health "
"""How the checks that decide whether a region is answered begin."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether every binding promise was kept; the reason names the first that was not."""

    outcome: Literal["passed", "failed"]
    reason: str
    promises: tuple[Promise, ...]


def judge(
    *,
    expect: Expectation,
    serves: bool,
    milestones: Milestones,
    healed: float,
    at_recovery: Sequence[Missing],
    healing: Healing,
    requests: Requests,
    budget: ErrorBudget,
    after: Sequence[Condition],
    time_scale: float = 1.0,
) -> Verdict:
    """What came of a drill in which no fault took a region away any more from `healed` on.

    `serves` is whether clients had to be served all the time. `at_recovery` and `healing` are what the ledger missed
    then; whatever was not looked for is not promised kept. `after` is the steady state at the end. Limits of recovery
    time shrink with `time_scale`; the recovery point, which no scale touches, does not.
    """
    promises = {
        "failover": lambda: _failover(milestones, healed, at_recovery, time_scale),
        "drain": lambda: [_nothing_lost(requests), _left(milestones, healed)],
        "none": lambda: [_stayed(milestones), *([_nothing_lost(requests)] if serves else [])],
        "outage": lambda: _outage(milestones, healed, time_scale),
    }[expect]()
    promises += [_nothing_missing(healing.missing), _final(healing), _merged(healing), _steady(after), _budget(budget)]
    broken = next((promise for promise in promises if promise.binding and not promise.kept), None)
    if broken is not None:
        reason = f"{broken.name}: {broken.measured}; promised is {broken.limit}"
        return Verdict(outcome="failed", reason=reason, promises=tuple(promises))
    reason = f"{promises[0].name}: {promises[0].measured}; every binding promise was kept"
    return Verdict(outcome="passed", reason=reason, promises=tuple(promises))


def _failover(
    milestones: Milestones, healed: float, at_recovery: Sequence[Missing], time_scale: float
) -> list[Promise]:
    steady = milestones.steady_success
    # Service that came back only with the region shows no failover.
    rto = milestones.rto_seconds if steady is not None and steady < healed else None
    took = "no steady success before healing" if rto is None else _seconds(rto)

    def recovery(name: str, limit: float, *, binding: bool) -> Promise:
        limit /= time_scale
        kept = rto is not None and rto < limit if binding else rto is not None and rto <= limit
        said = f"{'<' if binding else '≤'} {_seconds(limit)}"
        return Promise(name=name, limit=said, measured=took, kept=kept, binding=binding)

    return [
        recovery("recovery time", RTO_SECONDS, binding=True),
        recovery("recovery time, aim", AIM_SECONDS, binding=False),
        _left(milestones, healed),
        _recovery_point(at_recovery),
    ]


def _left(milestones: Milestones, healed: float) -> Promise:
    changed = milestones.dns_changed
    kept = changed is not None and changed < healed
    return Promise(
        name="failover",
        limit="DNS leaves the region before healing",
        measured=f"{_seconds(changed - milestones.fault)} after the fault"
        if changed is not None and kept
        else "DNS went on naming it",
        kept=kept,
    )


def _nothing_lost(requests: Requests) -> Promise:
    return Promise(
        name="requests",
        limit="none fails",
        measured=f"{requests.failed} of {requests.total} failed",
        kept=requests.total > 0 and requests.failed == 0,
    )


def _recovery_point(at_recovery: Sequence[Missing]) -> Promise:
    point = max((missing.seconds for missing in at_recovery), default=0.0)
    count = sum(len(missing.numbers) for missing in at_recovery)
    return Promise(
        name="recovery point",
        limit=f"< {_seconds(RPO_SECONDS)}",
        measured=f"{_seconds(point)} ({_writes(count)} missing)" if at_recovery else "not looked for",
        kept=bool(at_recovery) and point < RPO_SECONDS,
    )


def _stayed(milestones: Milestones) -> Promise:
    flipped = sorted(name for name in milestones.checks if name.startswith(HEALTH))
    moved = milestones.dns_changed is not None
    measured = f"changed: {', '.join(flipped)}" if flipped else "DNS changed" if moved else "traffic stayed"
    return Promise(name="no failover", limit="traffic stays", measured=measured, kept=not (flipped or moved))


def _outage(milestones: Milestones, healed: float, time_scale: float) -> list[Promise]:
    failed, steady, limit = milestones.first_failure, milestones.steady_success, RTO_SECONDS / time_scale
    back = None if steady is None else max(0.0, steady - healed)
    return [
        Promise(
            name="recovery after healing",
            limit=f"< {_seconds(limit)}",
            measured="no steady success" if back is None else _seconds(back),
            kept=back is not None and back < limit,
        ),
        Promise(
            name="outage",
            limit="requests fail while both regions are lost",
            measured="no request failed" if failed is None else f"from {_seconds(failed - milestones.fault)} on",
            kept=failed is not None,
        ),
    ]


def _nothing_missing(after_healing: Sequence[Missing]) -> Promise:
    count = sum(len(missing.numbers) for missing in after_healing)
    looked_for = sum(missing.looked_for for missing in after_healing)
    return Promise(
        name="nothing missing after healing",
        limit="0 acknowledged writes",
        measured=f"{count} of {_writes(looked_for)}" if after_healing else "not looked for",
        kept=bool(after_healing) and count == 0,
    )


def _final(healing: Healing) -> Promise:
    count = len(healing.unfinished)
    return Promise(
        name="documents after healing",
        limit="final in both regions",
        measured=f"{count} not final" if count else "all are final",
        kept=not count,
    )


def _merged(healing: Healing) -> Promise:
    found = healing.conflicts
    return Promise(
        name="conflicts after healing",
        limit="every one is found and can be merged",
        measured=f"{found.found} found, {found.merged} merged, {found.left} left",
        kept=found.left == 0,
    )


def _steady(after: Sequence[Condition]) -> Promise:
    broken = [condition.name for condition in after if not condition.held]
    return Promise(
        name="steady state after healing",
        limit="every condition holds",
        measured=f"not: {', '.join(broken)}" if broken else "every condition holds" if after else "not looked for",
        kept=bool(after) and not broken,
    )


def _budget(budget: ErrorBudget) -> Promise:
    return Promise(
        name="error budget, aim",
        limit=f"≤ {_seconds(budget.budget_seconds)}: {budget.availability_percent:g} % of 30 days",
        measured=_seconds(budget.spent_seconds),
        kept=budget.spent_seconds <= budget.budget_seconds,
        binding=False,
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"


def _writes(count: int) -> str:
    return f"{count} write{'' if count == 1 else 's'}"
