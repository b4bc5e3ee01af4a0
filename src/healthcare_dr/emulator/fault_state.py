"""The faults that a drill sets on the embedded AWS, and the file through which both processes read them."""

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final, Literal, get_args

from healthcare_dr.emulator.files import changing, write_file
from healthcare_dr.errors import EmulatorError

EdgeMode = Literal["open", "refused", "blackhole", "responds", "slow"]
LONGEST_DELAY_SECONDS: Final = 60.0
FURTHEST_CLOCK_SECONDS: Final = 240.0
"""By how much the clock of a function can be wrong. AWS rejects requests whose clock is wrong by five minutes."""
FASTEST = 20.0


ALL: Final = ""
"""In place of a host name: all clients of a listener. In place of an environment's suffix: all environments."""


def is_between(value: object, least: float, most: float) -> bool:
    """Return whether a value is a finite number in this range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and least <= value <= most


@dataclass(frozen=True, kw_only=True)
class EdgeFault:
    """The fault of an edge listener.

    Attributes:
        mode: `refused` connections, a `blackhole` that accepts and never responds, the same response to every request
            (`responds`), every response delayed (`slow`), or none (`open`).
        delay_seconds: of each response, for `slow`.
        status: of each response, for `responds`.
        body: of each response, for `responds`.
    """

    mode: EdgeMode = "open"
    delay_seconds: float = 0.0
    status: int = 503
    body: str = '{"message":"Service Unavailable"}'

    def __post_init__(self) -> None:
        if self.mode not in get_args(EdgeMode):
            raise EmulatorError(
                f"an edge listener cannot be {self.mode!r}: choose one of {', '.join(get_args(EdgeMode))}"
            )
        if not is_between(self.delay_seconds, 0, LONGEST_DELAY_SECONDS):
            raise EmulatorError(
                f"delay_seconds is {self.delay_seconds!r}: "
                f"an edge listener can delay responses by 0 to {LONGEST_DELAY_SECONDS:.0f} s"
            )
        if not is_between(self.status, 200, 599):
            raise EmulatorError(f"status is {self.status!r}: an edge listener can respond with 200 to 599")


OPEN = EdgeFault()


@dataclass(frozen=True, kw_only=True)
class FaultState:
    """The faults of listeners by region and host name, the time scale, the environments that control planes deny, and
    the errors of functions' clocks in seconds, by region and function name.

    Environments share the listeners: a client's host name selects its environment.

    The time scale is how many times faster than real time health checks run, DNS answers and the API's cached values
    expire, alarm periods pass and schedules fire.
    """

    edge_faults: Mapping[str, Mapping[str, EdgeFault]] = field(default_factory=dict)
    time_scale: float = 1.0
    control_planes_refused: tuple[str, ...] = ()
    clocks_ahead: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_between(self.time_scale, 1, FASTEST):
            raise EmulatorError(f"the time scale is {self.time_scale!r}: it can be 1 (real time) to {FASTEST:.0f}")
        if not all(isinstance(environment, str) for environment in self.control_planes_refused):
            raise EmulatorError(f"control planes are refused to environments, not to {self.control_planes_refused!r}")
        for seconds in (seconds for functions in self.clocks_ahead.values() for seconds in functions.values()):
            if not is_between(seconds, -FURTHEST_CLOCK_SECONDS, FURTHEST_CLOCK_SECONDS):
                raise EmulatorError(
                    f"a clock is {seconds!r} s ahead: it can be by up to {FURTHEST_CLOCK_SECONDS:.0f} s, or behind"
                )

    def edge_fault(self, region: str, host: str = ALL) -> EdgeFault:
        """Return the fault of a region's listener for a host name: the fault for all clients if there is one, else that
        of the name.
        """
        faults = self.edge_faults.get(region, {})
        whole = faults.get(ALL, OPEN)
        return faults.get(host, OPEN) if whole.mode == OPEN.mode else whole

    def host_faults(self, region: str) -> dict[str, EdgeFault]:
        """Return the faults of single host names at a region's listener."""
        return {host: fault for host, fault in self.edge_faults.get(region, {}).items() if host != ALL}

    def refuses(self, environment: str) -> bool:
        """Return whether control planes deny a caller that works for `environment`, or for an unknown one (`ALL`)."""
        return bool({environment, ALL}.intersection(self.control_planes_refused)) or (
            environment == ALL and bool(self.control_planes_refused)
        )


def read(path: Path) -> FaultState:
    """Return the fault state in `path`; without faults when the file does not exist.

    Raises:
        EmulatorError: the file has another format.
    """
    try:
        content = json.loads(path.read_text())
        edge_faults = {
            region: {host: EdgeFault(**fault) for host, fault in faults.items()}
            for region, faults in content.pop("edge_faults").items()
        }
        return FaultState(
            edge_faults=edge_faults, control_planes_refused=tuple(content.pop("control_planes_refused")), **content
        )
    except FileNotFoundError:
        return FaultState()
    except (AttributeError, KeyError, TypeError, ValueError):
        raise EmulatorError(f"{path} is not a fault state: delete it") from None


def set_edge_fault(path: Path, region: str, fault: EdgeFault, *, hosts: Collection[str] = ()) -> None:
    """Apply a fault to one listener: to clients that request one of `hosts`, or to all.

    The file is replaced atomically.
    """
    with changing(path):
        current = read(path)
        faults = {**current.edge_faults.get(region, {}), **dict.fromkeys(hosts or (ALL,), fault)}
        left = {host: fault for host, fault in faults.items() if fault.mode != OPEN.mode}
        _write(path, replace(current, edge_faults={**current.edge_faults, region: left}))


def set_clock_ahead(path: Path, region: str, seconds: float, *, functions: Collection[str]) -> None:
    """Set the error of the clocks of functions, by their names, in a region; 0 for none. The file is replaced
    atomically.

    Raises:
        EmulatorError: the error is out of range.
    """
    with changing(path):
        current = read(path)
        errors = {**current.clocks_ahead.get(region, {}), **dict.fromkeys(functions, seconds)}
        left = {name: error for name, error in errors.items() if error}
        _write(path, replace(current, clocks_ahead={**current.clocks_ahead, region: left}))


def change(
    path: Path,
    *,
    time_scale: float | None = None,
    control_planes_refused: bool | None = None,
    environment: str = ALL,
) -> None:
    """Set the arguments that are not None. Control planes are denied to `environment`, or to all. The file is replaced
    atomically.

    Raises:
        EmulatorError: a value is out of range.
    """
    with changing(path):
        current = read(path)
        refused = set(current.control_planes_refused)
        if control_planes_refused is not None:
            refused = refused | {environment} if control_planes_refused else refused - {environment}
        scale = current.time_scale if time_scale is None else time_scale
        _write(path, replace(current, time_scale=scale, control_planes_refused=tuple(sorted(refused))))


def reset(path: Path) -> None:
    """Remove all faults."""
    with changing(path):
        path.unlink(missing_ok=True)


def _write(path: Path, state: FaultState) -> None:
    write_file(path, json.dumps(asdict(state)).encode())
