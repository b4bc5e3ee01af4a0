"""What fails in a run, and the AWS client that experiences it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Protocol

from botocore.exceptions import ClientError, ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError

from simulation.scheduler import Killed, Scheduler
from unit.patient_api.fakes.aws import client_error

RETRIED = frozenset({"ThrottlingException", "SlowDown", "InternalServerError"})
"""Errors after which botocore repeats a request by itself (its retry mode `standard`)."""
_LOCAL = "generate_presigned_url"
_URL = "https://aws.example"


@dataclass
class Faults:
    """The faults of the moment.

    Attributes:
        lost: regions that cannot be reached and in which nothing runs.
        paused: replication that stands still, as pairs of what (`records`, `objects`) and the region that sends.
        slow: factors by which such replication is slower.
        throttled: the share of calls to a region's services that are throttled.
        no_key: regions whose KMS key is unusable.
        skews: errors of a region's clock, in seconds.
        crashing: the share of AWS calls of a region's functions before or after which their container is killed.
        lost_responses: the share of calls that succeed without a response.
        contention: the share of transactions that are cancelled because of another one.
        lost_events: regions whose bucket drops event notifications.
    """

    lost: set[str] = field(default_factory=set)
    paused: set[tuple[str, str]] = field(default_factory=set)
    slow: dict[tuple[str, str], float] = field(default_factory=dict)
    throttled: dict[str, float] = field(default_factory=dict)
    no_key: set[str] = field(default_factory=set)
    skews: dict[str, float] = field(default_factory=dict)
    crashing: dict[str, float] = field(default_factory=dict)
    lost_responses: float = 0.0
    contention: float = 0.0
    lost_events: set[str] = field(default_factory=set)

    def heal(self) -> None:
        """End all faults."""
        self.__init__()  # type: ignore[misc] # back to the defaults


class Caller(Protocol):
    """The process that calls AWS."""

    name: str
    region: str
    dead: bool
    random: Random

    def kill(self) -> None: ...


class AwsClient:
    """A botocore client of one process for one service of one region.

    Each call is a point where other tasks run: the request travels, takes effect at once, and the response travels.
    `attempts` and `timeout` are those of the client's configuration.
    """

    def __init__(
        self,
        caller: Caller,
        target: Any,
        *,
        service: str,
        region: str,
        attempts: int,
        timeout: float,
        scheduler: Scheduler,
        faults: Faults,
        trace: Callable[..., None],
    ) -> None:
        self._caller = caller
        self._target = target
        self._service = service
        self._region = region
        self._attempts = attempts
        self._timeout = timeout
        self._scheduler = scheduler
        self._faults = faults
        self._trace = trace

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation == _LOCAL:
            return getattr(self._target, operation)  # type: ignore[no-any-return] # nothing is sent
        call = self.__dict__[operation] = partial(self._call, operation)
        return call

    def _call(self, operation: str, **request: Any) -> dict[str, Any]:
        for attempt in range(1, self._attempts + 1):
            try:
                return self._attempt(operation, request)
            except ClientError as error:
                if error.response["Error"]["Code"] not in RETRIED or attempt == self._attempts:
                    raise
            except (ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError):
                if attempt == self._attempts:
                    raise
            self._scheduler.sleep(self._caller.random.uniform(0.05, 0.4) * attempt)
        raise AssertionError("there was an attempt")

    def _attempt(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        dice, faults = self._caller.random, self._faults
        self._crash()
        self._scheduler.sleep(dice.uniform(0.0005, 0.004) if dice.random() < 0.9 else dice.uniform(0.01, 0.2))
        if self._region in faults.lost:
            self._scheduler.sleep(1.0)
            self._report(operation, request, "unreachable")
            raise ConnectTimeoutError(endpoint_url=_URL)
        rejection = self._rejection(operation)
        if rejection is not None:
            self._report(operation, request, rejection.response["Error"]["Code"])
            raise rejection
        try:
            response: dict[str, Any] = getattr(self._target, operation)(**request)
        except ClientError as error:
            self._report(operation, request, error.response["Error"]["Code"])
            self._travel()
            raise
        self._crash()
        if faults.lost_responses and dice.random() < faults.lost_responses:
            self._report(operation, request, "response lost")
            if dice.random() < 0.5:
                raise ConnectionClosedError(endpoint_url=_URL)
            self._scheduler.sleep(self._timeout)
            raise ReadTimeoutError(endpoint_url=_URL)
        self._report(operation, request, "ok")
        self._travel()
        return response

    def _travel(self) -> None:
        self._scheduler.sleep(self._caller.random.uniform(0.0005, 0.003))

    def _crash(self) -> None:
        if self._caller.dead:
            raise Killed
        share = self._faults.crashing.get(self._caller.region)
        if share and self._caller.random.random() < share:
            self._caller.kill()
            raise Killed

    def _rejection(self, operation: str) -> ClientError | None:
        faults, dice = self._faults, self._caller.random
        if self._region in faults.no_key:
            if self._service == "dynamodb":
                return client_error("AccessDeniedException", operation, message="The KMS key is disabled.")
            return client_error("KMS.DisabledException", operation)
        share = faults.throttled.get(self._region)
        if share and dice.random() < share:
            if dice.random() < 0.2:
                return client_error("InternalServerError", operation, status=500)
            return client_error("SlowDown" if self._service == "s3" else "ThrottlingException", operation)
        if operation == "transact_write_items" and faults.contention and dice.random() < faults.contention:
            return client_error("TransactionCanceledException", operation, reasons=("None", "TransactionConflict"))
        return None

    def _report(self, operation: str, request: Mapping[str, Any], result: str) -> None:
        self._trace(self._caller.name, f"{self._region} {operation}", _subject(request), result)


def _subject(request: Mapping[str, Any]) -> str:
    """Return what a request is about, for the trace."""
    if "TransactItems" in request:
        puts = [entry["Put"]["Item"] for entry in request["TransactItems"]]
        return f"{puts[0]['pk']['S']} {puts[0]['sk']['S']} and {len(puts) - 1} more"
    if "Item" in request:
        return f"{request['Item']['pk']['S']} {request['Item']['sk']['S']}"
    found = request.get("Key") or request.get("ExpressionAttributeValues") or ""
    if isinstance(found, str):
        return found
    return " ".join(value["S"] for value in found.values() if "S" in value)[:150]
