"""Draining a region and restoring it: refuse what would harm, set or clear the flag, wait until DNS has followed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.drain.drain_flag import OperatorAction

WAIT_SECONDS: Final = 300.0
PAUSE_SECONDS: Final = 1.0
# Eight answers miss a region of weight 30 of 100 once in 17 times, 24 answers once in 5,000.
ROUNDS: Final = 3

Ask = Callable[[str], int | None]
Readiness = Callable[[], Sequence[str]]
"""Reasons against restoring, one line each; none when ready."""
Dns = Callable[[], Mapping[str, int] | None]
"""How often each region is named in 8 uncached answers; None when DNS cannot be asked."""


class Flag(Protocol):
    """The drain flag of one region: see `flag.DrainFlag`."""

    def is_set(self) -> bool:
        """Return whether it is set."""

    def set(self, order: OperatorAction) -> bool:
        """Set it; False when it was set already."""

    def clear(self, order: OperatorAction) -> bool:
        """Delete it; False when there was none."""


@dataclass(frozen=True, kw_only=True)
class Preconditions:
    """A region to drain or restore, its peer, and the sources that show where the traffic is; times in seconds."""

    region: str
    surviving: str
    urls: Mapping[str, str]
    """The address of each region's API, by region; no trailing slash."""
    ask: Ask
    dns: Dns
    ttl: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    say: Callable[[str], None]

    def drained(self) -> int | None:
        """Return the peer's response to `/drain/<region>`: 200 drained, 404 serving."""
        return self.ask(f"{self.urls[self.surviving]}/drain/{self.region}")


@dataclass(frozen=True)
class SwitchResult:
    """The result: whether the flag was `changed`, whether the switch was `awaited`, and the seconds it took."""

    region: str
    surviving: str
    changed: bool
    awaited: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Drain:
    """Drains a region. `other` is the flag of the surviving region."""

    around: Preconditions
    flag: Flag
    other: Flag

    def run(self, order: OperatorAction, *, force: bool = False, wait: bool = True) -> SwitchResult:
        """Set the flag and wait. Raises DeploymentError when refused, or when DNS does not follow within 300 s."""
        around = self.around
        if self.flag.is_set():
            around.say(f"{around.region} is already drained")
            return SwitchResult(around.region, around.surviving, changed=False, awaited=False, seconds=0.0)
        _refuse(() if force else self._reasons(), f"{around.region} is not drained")
        began = around.clock()
        changed = self.flag.set(order)
        around.say(f"{around.region} is to be drained: the flag stands in {around.surviving}")
        if wait:
            deadline = began + WAIT_SECONDS
            _await(around, lambda: around.drained() == 200, deadline, f"{around.surviving} to answer the flag")
            _await(around, lambda: _gone(around), deadline, f"DNS to leave {around.region}", rounds=ROUNDS)
            around.say(f"waiting {around.ttl:g} s, the TTL of answers given before")
            around.sleep(around.ttl)
        return SwitchResult(around.region, around.surviving, changed, wait, round(around.clock() - began, 1))

    def _reasons(self) -> list[str]:
        around, surviving = self.around, self.around.surviving
        reasons = []
        if self.other.is_set() or around.ask(f"{around.urls[around.region]}/drain/{surviving}") == 200:
            reasons.append(f"{surviving} is drained itself")
        code = around.ask(f"{around.urls[surviving]}/health")
        if code != 200:
            reasons.append(f"{surviving} is not healthy ({_health_text(code)})")
        return reasons


@dataclass(frozen=True, kw_only=True)
class Restore:
    """Gives a region its traffic back once `readiness` has nothing against it."""

    around: Preconditions
    flag: Flag
    readiness: Sequence[Readiness]

    def run(self, order: OperatorAction, *, force: bool = False, wait: bool = True) -> SwitchResult:
        """Clear the flag and wait. Raises DeploymentError when refused, or when DNS does not follow within 300 s."""
        around = self.around
        if not self.flag.is_set():
            around.say(f"{around.region} is not drained")
            return SwitchResult(around.region, around.surviving, changed=False, awaited=False, seconds=0.0)
        _refuse(() if force else self._reasons(), f"{around.region} is not restored")
        began = around.clock()
        changed = self.flag.clear(order)
        around.say(f"{around.region} is to be restored: the flag in {around.surviving} is deleted")
        if wait:
            deadline = began + WAIT_SECONDS
            _await(around, lambda: around.drained() == 404, deadline, f"{around.surviving} to answer without the flag")
            _await(around, lambda: _back(around), deadline, f"DNS to name {around.region}")
        return SwitchResult(around.region, around.surviving, changed, wait, round(around.clock() - began, 1))

    def _reasons(self) -> list[str]:
        code = self.around.ask(f"{self.around.urls[self.around.region]}/health")
        reasons = [] if code == 200 else [f"{self.around.region} is not healthy ({_health_text(code)})"]
        return reasons + [reason for ready in self.readiness for reason in ready()]


def surviving_of(region: str, regions: tuple[str, str]) -> str:
    """The other region. Raises SettingsError for one that is none of the two."""
    if region not in regions:
        raise SettingsError(f"{region} is not a region of this platform: choose {regions[0]} or {regions[1]}")
    return regions[1 - regions.index(region)]


def demand_reason(reason: str, *, force: bool) -> None:
    """Refuse to force without a reason. Raises SettingsError."""
    if force and not reason.strip():
        raise SettingsError("--force needs a reason for the audit log: add --reason TEXT")


def _refuse(reasons: Sequence[str], outcome: str) -> None:
    if reasons:
        raise DeploymentError(f"{outcome}: {'; '.join(reasons)} (fix that, or use --force --reason TEXT)")


def _health_text(code: int | None) -> str:
    return "no answer" if code is None else f"its health check answers {code}"


def _gone(around: Preconditions) -> bool:
    counts = around.dns()
    return bool(counts) and around.region not in (counts or {})


def _back(around: Preconditions) -> bool:
    return around.region in (around.dns() or {})


def _await(around: Preconditions, holds: Callable[[], bool], deadline: float, what: str, *, rounds: int = 1) -> None:
    """Return when it held `rounds` times in a row."""
    around.say(f"waiting for {what}")
    held = 0
    while True:
        held = held + 1 if holds() else 0
        if held == rounds:
            return
        if around.clock() >= deadline:
            raise DeploymentError(
                f"waited {WAIT_SECONDS:g} s in vain for {what}; the flag is written: check `hdr status` and Route 53"
            )
        around.sleep(PAUSE_SECONDS)
