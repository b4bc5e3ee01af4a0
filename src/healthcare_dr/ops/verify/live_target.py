"""Read-only access of the checks to the live target.

Each request is sent once and its response is cached. A failed request becomes a finding.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from healthcare_dr.errors import DeploymentError, HealthcareDrError
from healthcare_dr.naming import Names
from healthcare_dr.ops.http import Probe, api_prober
from healthcare_dr.ops.ports import EmbeddedAws, Target
from healthcare_dr.ops.terraform.state import DeployedResources, read_states
from healthcare_dr.settings import Settings

READS: Final = re.compile(r"(Get|List|Describe|Head|Simulate)[A-Z]\w*|Query")
GLOBAL_REGION: Final = "us-east-1"
"""Where Route 53 and IAM have their control planes."""
SERVER_FAULT: Final = 500
GLOBAL_SERVICES: Final = ("iam", "route53")

Answer = dict[str, Any]


class RequestFailedError(HealthcareDrError):
    """A request failed.

    Attributes:
        service: the AWS service, or `dns` or `replication`.
        unreachable: whether there was no response at all.
        code: the error code of AWS; empty without a response.
    """

    def __init__(self, text: str, *, service: str, unreachable: bool = False, code: str = "") -> None:
        super().__init__(text)
        self.service = service
        self.code = code
        self.unreachable = unreachable


class ChangeRefusedError(Exception):
    """A check tried to change the target: a defect."""


@dataclass(frozen=True, kw_only=True)
class LiveTarget:
    """The requests that checks may make. `emulator` is None on AWS. Thread-safe."""

    settings: Settings
    target: Target
    deployed: DeployedResources
    emulator: "EmbeddedAws | None"
    probe: Probe
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)
    _responses: dict[str, Answer | Exception] = field(default_factory=dict, init=False, repr=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, init=False, repr=False)
    _failed: dict[tuple[str, str], Exception] = field(default_factory=dict, init=False, repr=False)
    _unreachable: set[str] = field(default_factory=set, init=False, repr=False)
    _pending: dict[int, str] = field(default_factory=dict, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def names(self) -> Names:
        """Return the names of the environment's resources."""
        return self.settings.names

    def peer(self, region: str) -> str:
        """Return the other region."""
        return self.settings.regions[1 - self.settings.regions.index(region)]

    def documents_bucket(self, region: str) -> str:
        """Return the name of a region's document bucket."""
        return self.names.documents_bucket(self.deployed.account, region)

    def arn(self, service: str, region: str, resource: str) -> str:
        """Return the ARN of a resource of this account."""
        return f"arn:aws:{service}:{region}:{self.deployed.account}:{resource}"

    def client(self, service: str, region: str) -> Any:
        """Return a client that refuses every operation that is not read-only."""
        with self._lock:
            if (service, region) not in self._clients:
                made = self.target.client(service, region)
                made.meta.events.register("provide-client-params.*.*", _refuse_changes)
                self._clients[service, region] = made
            return self._clients[service, region]

    def reach(self, region: str) -> str | None:
        """Return the account of the credentials, as a region reports it; None when it denies the request.

        Raises:
            RequestFailedError: no response; no further request is sent to this region.
        """
        try:
            return str(self.request("sts", region, "get_caller_identity")["Account"])
        except RequestFailedError as error:
            if not error.unreachable:
                return None
            self._unreachable.add(region)
            text = f"{region} does not respond, so none of its checks can be made: {error}"
            raise RequestFailedError(text, service="sts", unreachable=True) from error

    def pending_service(self, thread: int) -> str | None:
        """Return the service whose response a thread waits for, by the thread's identifier."""
        return self._pending.get(thread)

    def request(self, service: str, region: str, operation: str, **parameters: Any) -> Answer:
        """Return the response of an operation, named as in boto3, with all its pages; cached.

        Raises:
            RequestFailedError: with a text of one line.
        """
        return self._response(service, region, operation, parameters)

    def request_first_page(self, service: str, region: str, operation: str, **parameters: Any) -> Answer:
        """Return the first page of a response; else as `request`."""
        return self._response(service, region, operation, parameters, paged=False)

    def request_optional(
        self, service: str, region: str, operation: str, missing: tuple[str, ...], **parameters: Any
    ) -> Answer | None:
        """Return None if the error code is in `missing`: the resource does not exist; else as `request`."""
        try:
            return self._response(service, region, operation, parameters)
        except RequestFailedError as error:
            if error.code in missing:
                return None
            raise

    def _response(
        self, service: str, region: str, operation: str, parameters: Mapping[str, Any], *, paged: bool = True
    ) -> Answer:
        found = self._send(service, region, operation, parameters, paged=paged)
        if isinstance(found, Exception):
            raise _request_failed(service, region, operation, found) from found
        return found

    def _send(
        self, service: str, region: str, operation: str, parameters: Mapping[str, Any], *, paged: bool
    ) -> Answer | Exception:
        if region in self._unreachable and service not in GLOBAL_SERVICES:
            return self._failed["sts", region]
        if (service, region) in self._failed:
            return self._failed[service, region]
        cache_key = repr((service, region, operation, sorted(parameters.items(), key=repr)))
        with self._lock:
            lock = self._locks.setdefault(cache_key, threading.Lock())
        thread = threading.get_ident()
        self._pending[thread] = service
        try:
            with lock:
                if cache_key not in self._responses:
                    self._responses[cache_key] = self._try_request(service, region, operation, parameters, paged=paged)
                return self._responses[cache_key]
        finally:
            self._pending.pop(thread)

    def _try_request(
        self, service: str, region: str, operation: str, parameters: Mapping[str, Any], *, paged: bool
    ) -> Answer | Exception:
        from botocore.exceptions import BotoCoreError, ClientError

        response: Answer
        try:
            client = self.client(service, region)
            if paged and client.can_paginate(operation):
                response = client.get_paginator(operation).paginate(**parameters).build_full_result()
            else:
                response = getattr(client, operation)(**parameters)
        except (BotoCoreError, ClientError) as error:
            failure: Exception = error
        else:
            return response
        if _is_down(failure):
            # The client has retried: further requests to this service would each wait as long.
            self._failed.setdefault((service, region), failure)
        return failure


def _refuse_changes(model: Any, **_: Any) -> None:
    if not READS.fullmatch(model.name):
        raise ChangeRefusedError(f"{model.service_model.service_name}:{model.name} is not read-only")


def _is_down(error: Exception) -> bool:
    """Return whether there was no response, or a server error, after the client's own retries."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= SERVER_FAULT
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _request_failed(service: str, region: str, operation: str, error: Exception) -> RequestFailedError:
    text = " ".join(str(error).split())
    return RequestFailedError(
        f"{service} in {region}: {operation} failed: {text}",
        service=service,
        unreachable=_is_down(error),
        code=_code(error),
    )


def open_live_target(
    settings: Settings,
    target: Target,
    emulator: "EmbeddedAws | None",
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> LiveTarget:
    """Return the live target of the settings; `emulator` is None on AWS.

    Raises:
        DeploymentError: not all stacks are deployed, their states cannot be read, or the embedded AWS does not run.
    """
    if emulator is not None and not emulator.running():
        raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
    states = read_states(target.read_state)
    for stack, state in states.items():
        if not state.deployed:
            raise DeploymentError(f"the stack {stack} is not deployed: deploy it first (`hdr up` or `hdr deploy`)")
    return LiveTarget(
        settings=settings,
        target=target,
        deployed=DeployedResources(states=states, regions=settings.regions),
        emulator=emulator,
        probe=api_prober(target),
        now=now,
    )
