"""Choose how many requests a drill sends, from what the machine was found to serve. Pure."""

import math
from dataclasses import dataclass
from typing import Final

FEWEST: Final = 5.0
"""Requests per second: with fewer, a recovery time is seen too coarsely, and too few writes are acknowledged."""
DEFAULT: Final = 20.0
"""Requests per second: more show nothing more, and cost the platform's processors."""
SHARE: Final = 0.5
"""Of what the machine serves: the surviving region takes everything, and retries come on top."""
WARM_UP_SECONDS: Final = 1.5
"""Connections are opened and functions start; not counted."""
SECONDS: Final = 4.0
"""How long is counted."""
CLIENTS_PER_REGION: Final = 2
"""Each sends as fast as it is answered: enough to keep the platform busy, few enough for health checks to pass."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How the request rate of a drill was determined."""

    rate: float
    """Requests per second, of all clients together."""
    reason: str
    """In one line, why this rate."""
    served_per_second: float | None = None
    """What the machine served in the calibration; None without one."""


def given(rate: float, *, by: str) -> Calibration:
    """Return a rate that is not to be found, and who gives it."""
    return Calibration(rate=rate, reason=f"given by {by}")


def from_served(served_per_second: float) -> Calibration:
    """Return the rate for a machine that served so many requests per second: half of it, within 5 and 20."""
    half = math.floor(SHARE * served_per_second * 10) / 10
    rate = min(DEFAULT, max(FEWEST, half))
    found = f"half of the {served_per_second:.1f} requests per second that this machine served in {SECONDS:g} s"
    if half > DEFAULT:
        reason = f"the most that is needed; {found} is more"
    elif half < FEWEST:
        reason = f"the fewest that show something; {found} is less"
    else:
        reason = found
    return Calibration(rate=rate, reason=reason, served_per_second=round(served_per_second, 1))
