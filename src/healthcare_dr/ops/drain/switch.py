"""Drain a region and restore it: check the preconditions, set or delete the drain flag, and wait until DNS follows."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from healthcare_dr.errors import DeploymentError, SettingsError
from healthcare_dr.ops.drain.drain_flag import DrainFlag, OperatorAction
from healthcare_dr.ops.http import Probe

WAIT_SECONDS: Final = 300.0
PAUSE_SECONDS: Final = 1.0
# 8 answers lack a region of weight 30 of 100 once in 17 times, 24 answers once in 5,000 times.
ROUNDS: Final = 3

Readiness = Callable[[], Sequence[str]]
"""Returns the reasons against restoring, one line each."""
Dns = Callable[[], Mapping[str, int] | None]
"""Returns how often each region is named in 8 uncached answers; None if DNS does not respond."""


@dataclass(frozen=True)
class SwitchResult:
    """The result: whether the flag was `changed`, whether the switch was `awaited`, and the seconds it took."""

    region: str
    surviving: str
    changed: bool
    awaited: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrafficSwitch:
    """Moves the traffic of `region` to `surviving` and back."""

    region: str
    surviving: str
    urls: Mapping[str, str]
    """The address of each region's API, by region; no trailing slash."""
    flag: DrainFlag
    surviving_flag: DrainFlag
    """The drain flag of the surviving region."""
    readiness: Sequence[Readiness]
    probe: Probe
    dns: Dns
    ttl: float
    """The TTL of the DNS records in seconds."""
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def drain(self, action: OperatorAction, *, force: bool = False, wait: bool = True) -> SwitchResult:
        """Set the flag, and wait for DNS.

        Raises:
            DeploymentError: a precondition does not hold, or DNS does not follow within 300 s.
        """
        if self.flag.is_set():
            self.say(f"{self.region} is already drained")
            return self._result(changed=False)
        if not force:
            self._refuse(self._reasons_against_draining(), "drained")
        began = self.clock()
        changed = self.flag.set(action)
        self.say(f"{self.region}: the drain flag is set in {self.surviving}")
        if wait:
            deadline = began + WAIT_SECONDS
            self._await(lambda: self._flag_status() == 200, deadline, f"{self.surviving} to report the drain flag")
            self._await(self._dns_has_left, deadline, f"DNS to leave {self.region}", rounds=ROUNDS)
            self.say(f"waiting {self.ttl:g} s, the TTL of earlier answers")
            self.sleep(self.ttl)
        return self._result(changed=changed, awaited=wait, began=began)

    def restore(self, action: OperatorAction, *, force: bool = False, wait: bool = True) -> SwitchResult:
        """Delete the flag, and wait for DNS.

        Raises:
            DeploymentError: the region is not ready, or DNS does not follow within 300 s.
        """
        if not self.flag.is_set():
            self.say(f"{self.region} is not drained")
            return self._result(changed=False)
        if not force:
            self._refuse(self._reasons_against_restoring(), "restored")
        began = self.clock()
        changed = self.flag.clear(action)
        self.say(f"{self.region}: the drain flag in {self.surviving} is deleted")
        if wait:
            deadline = began + WAIT_SECONDS
            self._await(lambda: self._flag_status() == 404, deadline, f"{self.surviving} to report no drain flag")
            self._await(lambda: self.region in (self.dns() or {}), deadline, f"DNS to name {self.region}")
        return self._result(changed=changed, awaited=wait, began=began)

    def _reasons_against_draining(self) -> list[str]:
        reasons = []
        surviving_drained = self.probe(f"{self.urls[self.region]}/drain/{self.surviving}") == 200
        if self.surviving_flag.is_set() or surviving_drained:
            reasons.append(f"{self.surviving} is drained itself")
        return reasons + self._reasons_of_health(self.surviving)

    def _reasons_against_restoring(self) -> list[str]:
        return self._reasons_of_health(self.region) + [reason for ready in self.readiness for reason in ready()]

    def _reasons_of_health(self, region: str) -> list[str]:
        code = self.probe(f"{self.urls[region]}/health")
        text = "no response" if code is None else f"its health check returns {code}"
        return [] if code == 200 else [f"{region} is not healthy ({text})"]

    def _refuse(self, reasons: Sequence[str], state: str) -> None:
        if reasons:
            raise DeploymentError(
                f"{self.region} is not {state}: {'; '.join(reasons)} (fix that, or use --force --reason TEXT)"
            )

    def _flag_status(self) -> int | None:
        """Return the surviving region's response to `/drain/<region>`: 200 drained, 404 serving."""
        return self.probe(f"{self.urls[self.surviving]}/drain/{self.region}")

    def _dns_has_left(self) -> bool:
        counts = self.dns() or {}
        return bool(counts) and self.region not in counts

    def _await(self, condition: Callable[[], bool], deadline: float, what: str, *, rounds: int = 1) -> None:
        """Return when the condition held `rounds` times in a row."""
        self.say(f"waiting for {what}")
        held = 0
        while True:
            held = held + 1 if condition() else 0
            if held == rounds:
                return
            if self.clock() >= deadline:
                raise DeploymentError(
                    f"waited {WAIT_SECONDS:g} s without success for {what}; the flag is written: check `hdr status` "
                    "and Route 53"
                )
            self.sleep(PAUSE_SECONDS)

    def _result(self, *, changed: bool, awaited: bool = False, began: float | None = None) -> SwitchResult:
        seconds = 0.0 if began is None else round(self.clock() - began, 1)
        return SwitchResult(self.region, self.surviving, changed, awaited, seconds)


def surviving_of(region: str, regions: tuple[str, str]) -> str:
    """Return the other region. Raises SettingsError for a region that is none of the two."""
    if region not in regions:
        raise SettingsError(f"{region} is not a region of this platform: choose {regions[0]} or {regions[1]}")
    return regions[1 - regions.index(region)]


def require_reason(reason: str, *, force: bool) -> None:
    """Raise SettingsError if force is used without a reason."""
    if force and not reason.strip():
        raise SettingsError("--force needs a reason for the audit log: add --reason TEXT")
