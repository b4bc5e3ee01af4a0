"""The settings of replication, for all or for some tables and buckets, and the file that passes them to the process."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from healthcare_dr.emulator.fault_state import is_between
from healthcare_dr.emulator.files import changing, write_file
from healthcare_dr.errors import EmulatorError

# AWS takes 0.5 to 2.5 s for a table and longer for an object. Half a second is longer than a request with a cold start,
# so that an immediate read in the other region returns the old version, and short enough for tests.
DEFAULT_LAG_SECONDS = 0.5
LONGEST_LAG_SECONDS = 3600.0


@dataclass(frozen=True)
class Replication:
    """Whether tables and documents replicate, and the lag after a write. Paused changes are kept."""

    tables: bool = True
    documents: bool = True
    lag_seconds: float = DEFAULT_LAG_SECONDS

    def __post_init__(self) -> None:
        for name in ("tables", "documents"):
            if not isinstance(getattr(self, name), bool):
                raise EmulatorError(f"{name} is {getattr(self, name)!r}, but it must be true or false")
        if not is_between(self.lag_seconds, 0, LONGEST_LAG_SECONDS):
            raise EmulatorError(
                f"lag_seconds is {self.lag_seconds!r}: replication can lag by 0 to {LONGEST_LAG_SECONDS:.0f} s"
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of single tables and buckets by name, and those of all others."""

    others: Replication = Replication()
    own: Mapping[str, Replication] = field(default_factory=dict)

    def of(self, name: str) -> Replication:
        """Return the settings of a table or bucket."""
        return self.own.get(name, self.others)


def read(path: Path) -> Settings:
    """Return the settings in `path`; the defaults when the file does not exist.

    Raises:
        EmulatorError: the file has another format.
    """
    try:
        content = json.loads(path.read_text())
        own = {name: Replication(**settings) for name, settings in content.pop("own", {}).items()}
        return Settings(others=Replication(**content), own=own)
    except FileNotFoundError:
        return Settings()
    except (AttributeError, TypeError, ValueError):
        raise EmulatorError(f"{path} does not contain settings of replication: delete it") from None


def change(
    path: Path,
    *,
    tables: bool | None = None,
    documents: bool | None = None,
    lag_seconds: float | None = None,
    only: Collection[str] = (),
) -> None:
    """Set the arguments that are not None, for the tables and buckets `only`, or for all without settings of their own.

    The file is replaced atomically.

    Raises:
        EmulatorError: a value is out of range.
    """
    arguments = {"tables": tables, "documents": documents, "lag_seconds": lag_seconds}
    given: dict[str, Any] = {name: value for name, value in arguments.items() if value is not None}
    with changing(path):
        current = read(path)
        others = current.others if only else replace(current.others, **given)
        own = {**current.own, **{name: replace(current.of(name), **given) for name in only}}
        differing = {name: asdict(replication) for name, replication in own.items() if replication != others}
        write_file(path, json.dumps(asdict(others) | {"own": differing}).encode())
