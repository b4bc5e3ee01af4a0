"""The zones and health checks of Route 53, as the data plane uses them. Names are lower case without a final dot."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# The regions of Route 53's checkers: all values of `HealthCheckRegion` in its API.
CHECKER_REGIONS = (
    "us-east-1",
    "us-west-1",
    "us-west-2",
    "eu-west-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "sa-east-1",
)
# "HealthCheckRegions" in Route 53's API reference: at least three.
LEAST_CHECKERS = 3
PROBED = frozenset({"HTTP", "HTTPS", "HTTP_STR_MATCH", "HTTPS_STR_MATCH", "TCP"})
_ODD = re.compile(rb"[^a-z0-9_-]")
_ENDPOINT = re.compile(r"([a-z0-9]+)\.execute-api\.([a-z0-9-]+)\.amazonaws\.com")


@dataclass(frozen=True, kw_only=True)
class Record:
    """One resource record set; `ttl` in seconds."""

    name: str
    type: str
    ttl: int
    values: tuple[str, ...]
    set_identifier: str | None = None
    weight: int | None = None
    check_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A hosted zone with its records."""

    id: str
    name: str
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """The configuration of a health check.

    Attributes:
        host: the name that a probe requests.
        ip: the address that a probe connects to; that of `host` when None.
        interval: the seconds between two probes of one checker.
        child_threshold: the number of `children` that must be healthy.
    """

    id: str
    type: str
    name: str = ""
    host: str = ""
    ip: str | None = None
    port: int = 443
    path: str = "/"
    interval: int = 30
    threshold: int = 3
    inverted: bool = False
    sni: bool = False
    search: str | None = None
    children: tuple[str, ...] = ()
    child_threshold: int = 0
    disabled: bool = False

    @property
    def probed(self) -> bool:
        """Return whether checkers probe it."""
        return self.type in PROBED and not self.disabled

    @property
    def supported(self) -> bool:
        """Return whether its status is derived here. A check of an alarm or a routing control stays as without data."""
        return self.type in PROBED or self.type == "CALCULATED"


@dataclass(frozen=True)
class Snapshot:
    """All zones and checks (by id) at one time."""

    zones: tuple[Zone, ...] = ()
    checks: Mapping[str, CheckConfig] = field(default_factory=dict)


class Observation(NamedTuple):
    """The last observation of one checker; `epoch` in seconds."""

    region: str
    ip: str
    status: str
    epoch: float


@dataclass(frozen=True, kw_only=True)
class CheckStatus:
    """The status of a check, and the share (0 to 1) of its healthy checkers: None without checkers."""

    healthy: bool
    share: float | None
    name: str
    observations: tuple[Observation, ...] = ()


def checker_regions(time_scale: float) -> tuple[str, ...]:
    """Return the regions whose checkers probe when time runs `time_scale` times as fast.

    In real time, all of them probe. At higher scales fewer do, because probes are more frequent and each costs this
    machine time; but at least as many as Route 53 requires.
    """
    return CHECKER_REGIONS[: max(LEAST_CHECKERS, math.ceil(len(CHECKER_REGIONS) / time_scale))]


def plain_name(name: str) -> str:
    """Return a DNS name in lower case (only ASCII letters: RFC 4343) and without its final dot."""
    return name.encode().lower().decode().removesuffix(".")


def name_of(labels: Iterable[bytes]) -> str:
    """Return the plain name of `labels` as Route 53's API writes it: bytes other than a-z, 0-9, - and _ as octal codes
    ("DNS domain name format" in its Developer Guide).
    """
    return ".".join(_ODD.sub(lambda odd: b"\\%03o" % odd[0][0], label.lower()).decode() for label in labels)


def endpoint_of(name: str) -> tuple[str, str] | None:
    """Return the API id and region of the host name of an HTTP API; None for any other name."""
    match = _ENDPOINT.fullmatch(plain_name(name))
    return (match[1], match[2]) if match else None
