"""After healing: what has to arrive arrives, what both regions changed is merged, and nothing is missing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from healthcare_dr.ops.drill.journal import Conflicts
from healthcare_dr.ops.drill.model import Missing
from healthcare_dr.ops.drill.parts import Ledger, Merging

ARRIVAL_SECONDS: Final = 60.0
"""Within the recovery point everything has to be in both regions again."""
FINAL_SECONDS: Final = 120.0
"""A document whose event was lost is confirmed by the second sweep."""
POLL_SECONDS: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Healing:
    """The data of both regions, once no client writes any more."""

    missing: tuple[Missing, ...]
    """For each region, what had not arrived in time."""
    unfinished: tuple[int, ...]
    """The documents that had not become final, by their numbers in the ledger."""
    conflicts: Conflicts


def healed(
    ledger: Ledger,
    merging: Merging,
    regions: tuple[str, str],
    *,
    fault_at: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Healing:
    """Wait for what is on its way, as long as promised, and merge; to be called when nobody writes.

    Raises:
        DeploymentError: a region cannot be asked.
    """
    deadline = clock() + ARRIVAL_SECONDS
    missing = {region: ledger.missing(region, at=clock(), fault_at=fault_at, own=True) for region in regions}
    while any(found.numbers for found in missing.values()) and clock() < deadline:
        sleep(POLL_SECONDS)
        for region, found in missing.items():
            if found.numbers:
                again = ledger.missing(region, at=clock(), fault_at=fault_at, numbers=found.numbers, own=True)
                missing[region] = Missing(
                    at=again.at,
                    region=region,
                    looked_for=found.looked_for,
                    numbers=again.numbers,
                    seconds=again.seconds,
                )
    merged = merging.run()
    deadline = clock() + FINAL_SECONDS
    unfinished = _unfinished(ledger, regions)
    while unfinished and clock() < deadline:
        sleep(POLL_SECONDS)
        unfinished = _unfinished(ledger, regions, unfinished)
    return Healing(
        missing=tuple(missing.values()),
        unfinished=unfinished,
        conflicts=Conflicts(found=merged.found, merged=merged.settled, left=len(merged.left)),
    )


def _unfinished(ledger: Ledger, regions: tuple[str, str], among: Sequence[int] | None = None) -> tuple[int, ...]:
    return tuple(sorted({number for region in regions for number in ledger.unfinished(region, numbers=among)}))
