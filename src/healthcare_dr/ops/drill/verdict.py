"""Judge a drill: compare promises with measurements, and decide whether the measurements are reliable.

All functions are pure.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from healthcare_dr.ops.drill.consistency import LOST_VERSION
from healthcare_dr.ops.drill.experiment import Expectation
from healthcare_dr.ops.drill.journal import (
    Condition,
    Consistency,
    ErrorBudget,
    InstrumentHealth,
    Milestones,
    Missing,
    Promise,
    Requests,
)
from healthcare_dr.ops.drill.recovery_checks import HealedData
from healthcare_dr.ops.drill.self_monitor import ADVICE

RTO_SECONDS: Final = 300.0
AIM_SECONDS: Final = 60.0
RPO_SECONDS: Final = 60.0
SHORTEST_LIMIT_SECONDS: Final = 30.0
"""No limit of recovery time becomes shorter than this, however fast a drill runs: retries and timeouts take real time,
three attempts of 5 s each for one request."""
FEWEST_WRITES: Final = 20
"""With fewer acknowledged writes before the fault, a recovery point shows nothing."""
HEALTH: Final = "health "
"""The prefix of the checks that decide whether DNS answers with a region."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of a complete drill. The reason names the first promise that was not kept."""

    outcome: Literal["passed", "failed", "inconclusive"]
    reason: str
    promises: tuple[Promise, ...]


def judge(
    *,
    expect: Expectation,
    serves: bool,
    milestones: Milestones,
    healed: float,
    at_recovery: Sequence[Missing],
    healing: HealedData,
    consistency: Consistency,
    reads: bool,
    updates: bool,
    requests: Requests,
    budget: ErrorBudget,
    after: Sequence[Condition],
    acknowledged_before: int,
    health: InstrumentHealth,
    time_scale: float = 1.0,
) -> Verdict:
    """Judge a drill. All lost regions are back from `healed` on.

    Args:
        serves: whether all requests must succeed.
        at_recovery, healing: the missing writes at those times. A promise about something that was not checked is
            broken.
        reads, updates: whether clients read or update patients. Without them, nothing is to be checked.
        consistency: what the histories show. An anomaly fails a drill on a late machine too, except a lost version,
            which may be late.
        acknowledged_before: how many writes the lost region had acknowledged before the fault.
        after: the steady state at the end.
        time_scale: divides the limits of recovery time, down to 30 s, but not the recovery point.
    """
    promises = {
        "failover": lambda: _failover(milestones, healed, at_recovery, acknowledged_before, time_scale),
        "drain": lambda: [_nothing_lost(requests), _left(milestones, healed)],
        "none": lambda: [_stayed(milestones), *([_nothing_lost(requests)] if serves else [])],
        "outage": lambda: _outage(milestones, healed, time_scale),
    }[expect]()
    promises += [_nothing_missing(healing.missing), _final(healing), _merged(healing), _steady(after)]
    shown = {
        "register": replace(_register(consistency), binding=reads or consistency.found["register"] > 0),
        "append": replace(_appends(consistency), binding=updates or consistency.found["append"] > 0),
        "session": replace(_sessions(consistency), binding=reads or consistency.found["session"] > 0),
    }
    independent = {shown[each.check].name for each in consistency.anomalies if each.name != LOST_VERSION}
    kept = {promise.name for promise in shown.values() if promise.kept}
    return conclude([*promises, *shown.values(), _budget(budget)], health, independent=independent | kept)


def conclude(
    promises: Sequence[Promise], health: InstrumentHealth, *, independent: Collection[str] = frozenset()
) -> Verdict:
    """Decide the outcome. `independent` are the names of promises that lateness cannot break.

    - A binding promise is broken that is independent of the machine: failed.
    - Every binding promise is kept: passed, even on a late machine.
    - Otherwise, if the machine was too late to measure: inconclusive, and no promise is judged.
    - Otherwise, if a binding promise is broken: failed.
    - Otherwise, a binding promise is not judged: inconclusive.
    """
    binding = [promise for promise in promises if promise.binding]
    judged = binding if health.sufficient else [promise for promise in binding if promise.name in independent]
    broken = next((promise for promise in judged if promise.kept is False), None)
    late = next((promise for promise in binding if promise.kept is False), None)
    unknown = next((promise for promise in binding if promise.kept is None), None)
    first = broken or late or unknown
    if first is None:
        reason = f"{promises[0].name}: {promises[0].measured}; every binding promise was kept"
        return Verdict(outcome="passed", reason=reason, promises=tuple(promises))
    seen = f"{first.name}: {first.measured}"
    if not health.sufficient:
        promises = [promise if promise.name in independent else replace(promise, kept=None) for promise in promises]
    if broken is not None:
        return Verdict(outcome="failed", reason=f"{seen}; promised is {first.limit}", promises=tuple(promises))
    if not health.sufficient:
        return Verdict(outcome="inconclusive", reason=too_slow(health, seen=seen), promises=tuple(promises))
    return Verdict(outcome="inconclusive", reason=f"{seen}; {ADVICE}", promises=tuple(promises))


def too_slow(health: InstrumentHealth, *, seen: str) -> str:
    """Return the reason of a drill that is inconclusive because of the machine; `seen` would have failed it."""
    return f"the machine was too slow for the measurement: {health.reason}; {ADVICE}; seen, but not judged: {seen}"


def _failover(
    milestones: Milestones,
    healed: float,
    at_recovery: Sequence[Missing],
    acknowledged_before: int,
    time_scale: float,
) -> list[Promise]:
    steady = milestones.steady_success
    # Service that came back only with the region is no failover.
    rto = milestones.rto_seconds if steady is not None and steady < healed else None
    took = f"no steady success before healing{_last_failures(milestones)}" if rto is None else _seconds(rto)

    def recovery(name: str, limit: float, *, binding: bool) -> Promise:
        limit = _scaled(limit, time_scale) if binding else limit / time_scale
        kept = rto is not None and rto < limit if binding else rto is not None and rto <= limit
        text = f"{'<' if binding else '≤'} {_seconds(limit)}"
        return Promise(name=name, limit=text, measured=took, kept=kept, binding=binding)

    return [
        recovery("recovery time", RTO_SECONDS, binding=True),
        recovery("recovery time, aim", AIM_SECONDS, binding=False),
        _left(milestones, healed),
        _recovery_point(at_recovery, acknowledged_before),
    ]


def _last_failures(milestones: Milestones) -> str:
    return f" (last failures: {'; '.join(milestones.last_failures)})" if milestones.last_failures else ""


def _scaled(limit: float, time_scale: float) -> float:
    return max(SHORTEST_LIMIT_SECONDS, limit / time_scale)


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


def _recovery_point(at_recovery: Sequence[Missing], acknowledged_before: int) -> Promise:
    point = max((missing.seconds for missing in at_recovery), default=0.0)
    count = sum(len(missing.numbers) for missing in at_recovery)
    unanswered = sum(len(missing.unanswered) for missing in at_recovery)
    kept: bool | None = True
    measured = f"{_seconds(point)} ({_writes(count)} missing)"
    if not at_recovery:
        measured, kept = "not looked for", False
    elif point >= RPO_SECONDS:
        kept = False
    elif acknowledged_before < FEWEST_WRITES:
        few = f"only {_writes(acknowledged_before)} acknowledged before the fault, {FEWEST_WRITES} are needed"
        measured, kept = few, None
    elif unanswered:
        measured, kept = f"{_writes(unanswered)} unanswered: region busy", None
    return Promise(name="recovery point", limit=f"< {_seconds(RPO_SECONDS)}", measured=measured, kept=kept)


def _stayed(milestones: Milestones) -> Promise:
    flipped = sorted(name for name in milestones.checks if name.startswith(HEALTH))
    moved = milestones.dns_changed is not None
    measured = f"changed: {', '.join(flipped)}" if flipped else "DNS changed" if moved else "traffic stayed"
    return Promise(name="no failover", limit="traffic stays", measured=measured, kept=not (flipped or moved))


def _outage(milestones: Milestones, healed: float, time_scale: float) -> list[Promise]:
    failed, steady, limit = milestones.first_failure, milestones.steady_success, _scaled(RTO_SECONDS, time_scale)
    back = None if steady is None else max(0.0, steady - healed)
    return [
        Promise(
            name="recovery after healing",
            limit=f"< {_seconds(limit)}",
            measured=f"no steady success{_last_failures(milestones)}" if back is None else _seconds(back),
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
    undelivered = sum(len(missing.undelivered) for missing in after_healing)
    unanswered = sum(len(missing.unanswered) for missing in after_healing)
    looked_for = sum(missing.looked_for for missing in after_healing)
    measured = f"{count} of {_writes(looked_for)}"
    if undelivered:
        measured += f", {undelivered} of them not delivered: replication has stopped"
    if unanswered:
        measured += f", {unanswered} unanswered: region busy"
    return Promise(
        name="nothing missing after healing",
        limit="0 acknowledged writes",
        measured=measured if after_healing else "not looked for",
        kept=_kept(broken=not after_healing or count > 0, unknown=unanswered > 0),
    )


def _final(healing: HealedData) -> Promise:
    count, unanswered = len(healing.unfinished.numbers), len(healing.unfinished.unanswered)
    parts = [f"{count} not final"] if count else []
    parts += [f"{unanswered} unanswered: region busy"] if unanswered else []
    return Promise(
        name="documents after healing",
        limit="final in both regions",
        measured=", ".join(parts) or "all are final",
        kept=_kept(broken=count > 0, unknown=unanswered > 0),
    )


def _merged(healing: HealedData) -> Promise:
    found = healing.conflicts
    busy = f", {found.unanswered} unanswered: region busy" if found.unanswered else ""
    return Promise(
        name="conflicts after healing",
        limit="every one is found and can be merged",
        measured=f"{found.found} found, {found.merged} merged, {found.left} left{busy}",
        kept=_kept(broken=found.left > 0, unknown=found.unanswered > 0),
    )


def _register(found: Consistency) -> Promise:
    return Promise(
        name="histories: registers",
        limit="each record is linearizable in each region",
        measured=f"{_anomalies(found, 'register')} in {found.operations} operations on {found.records} records"
        if found.records
        else "nothing to check: no record was read or updated",
        kept=_kept(broken=found.found["register"] > 0, unknown=found.records == 0),
    )


def _appends(found: Consistency) -> Promise:
    busy = f", {len(found.unanswered)} records unanswered: region busy" if found.unanswered else ""
    return Promise(
        name="histories: appends",
        limit="each is in both regions, and lists keep their order",
        measured=f"{_anomalies(found, 'append')} in {found.appends} acknowledged appends{busy}"
        if found.appends
        else "nothing to check: no append was acknowledged",
        kept=_kept(broken=found.found["append"] > 0, unknown=found.appends == 0 or bool(found.unanswered)),
    )


def _sessions(found: Consistency) -> Promise:
    return Promise(
        name="histories: sessions",
        limit="no read returns an older version than the one in Minimum-Version",
        measured=f"{_anomalies(found, 'session')} in {found.session_reads} reads with Minimum-Version"
        if found.session_reads
        else "nothing to check: no read with Minimum-Version succeeded",
        kept=_kept(broken=found.found["session"] > 0, unknown=found.session_reads == 0),
    )


def _anomalies(found: Consistency, check: str) -> str:
    count = found.found[check]
    names = ", ".join(dict.fromkeys(each.name for each in found.anomalies if each.check == check))
    return f"{count or 'no'} anomal{'y' if count == 1 else 'ies'}{f' ({names})' if names else ''}"


def _kept(*, broken: bool, unknown: bool) -> bool | None:
    return False if broken else None if unknown else True


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
