"""Read-only access of the checks to the live target.

Each request is sent once and its response is cached. A failure becomes a finding in plain words.
"""

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from healthcare_dr.errors import DeploymentError, HealthcareDrError
from healthcare_dr.naming import STACKS, Names
from healthcare_dr.ops.ports import BreakableAws, Target
from healthcare_dr.ops.status import api_prober
from healthcare_dr.ops.terraform.state import read_settled
from healthcare_dr.ops.verify.delegation import name_servers
from healthcare_dr.ops.verify.terraform_state import TerraformState
from healthcare_dr.settings import Settings

READS: Final = re.compile(r"(Get|List|Describe|Head|Simulate)[A-Z]\w*|Query")
GLOBAL_REGION: Final = "us-east-1"
"""Where Route 53 and IAM have their control planes."""
SERVER_FAULT: Final = 500
EVERYWHERE: Final = ("iam", "route53")

Answer = dict[str, Any]
Ask = Callable[[str], int | None]
"""Answers the HTTP status of an address, or None when there was no answer in time."""


class UnansweredError(HealthcareDrError):
    """A request failed; `unreachable`: there was no response at all."""

    def __init__(self, text: str, *, service: str, unreachable: bool = False) -> None:
        super().__init__(text)
        self.service = service
        self.unreachable = unreachable


class ChangeRefusedError(Exception):
    """A check tried to change the target: a defect."""


@dataclass(frozen=True, kw_only=True)
class LiveTarget:
    """The requests that checks may make. `emulator` is None on AWS. Thread-safe."""

    settings: Settings
    target: Target
    deployed: TerraformState
    emulator: BreakableAws | None
    probe: Ask
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    name_servers: Callable[[str], Sequence[str]] = field(default=name_servers)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)
    _answers: dict[str, Answer | Exception] = field(default_factory=dict, init=False, repr=False)
    _locks: dict[str, threading.Lock] = field(default_factory=dict, init=False, repr=False)
    _silent: dict[tuple[str, str], Exception] = field(default_factory=dict, init=False, repr=False)
    _gone: set[str] = field(default_factory=set, init=False, repr=False)
    _awaited: dict[int, str] = field(default_factory=dict, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def names(self) -> Names:
        """The names of the environment."""
        return Names(self.settings.environment_suffix)

    def peer(self, region: str) -> str:
        """The other region."""
        return self.settings.regions[1 - self.settings.regions.index(region)]

    def documents_bucket(self, region: str) -> str:
        """The name of a region's document bucket."""
        return self.names.documents_bucket(self.deployed.account, region)

    def arn(self, service: str, region: str, resource: str) -> str:
        """The ARN of a resource of this account."""
        return f"arn:aws:{service}:{region}:{self.deployed.account}:{resource}"

    def client(self, service: str, region: str) -> Any:
        """A client that refuses whatever does not only read."""
        with self._lock:
            if (service, region) not in self._clients:
                made = self.target.client(service, region)
                made.meta.events.register("provide-client-params.*.*", _refuse_changes)
                self._clients[service, region] = made
            return self._clients[service, region]

    def reach(self, region: str) -> str | None:
        """Return the account of the credentials, as a region reports it; None when it denies the request.

        Raises:
            UnansweredError: no response; no further request is sent to this region.
        """
        try:
            return str(self.ask("sts", region, "get_caller_identity")["Account"])
        except UnansweredError as error:
            if not error.unreachable:
                return None
            self._gone.add(region)
            told = f"{region} does not respond, so none of its checks can be made: {error}"
            raise UnansweredError(told, service="sts", unreachable=True) from error

    def awaited(self, thread: int) -> str | None:
        """The service whose answer a thread waits for, by the thread's identifier."""
        return self._awaited.get(thread)

    def ask(self, service: str, region: str, operation: str, **request: Any) -> Answer:
        """Return the response of an operation, named as in boto3, with all its pages; cached.

        Raises:
            UnansweredError: in one line.
        """
        found = self._send(service, region, operation, request)
        if isinstance(found, Exception):
            raise _unanswered(service, region, operation, found) from found
        return found

    def ask_page(self, service: str, region: str, operation: str, **request: Any) -> Answer:
        """The same, of the first page alone. Raises UnansweredError."""
        found = self._send(service, region, operation, request, paged=False)
        if isinstance(found, Exception):
            raise _unanswered(service, region, operation, found) from found
        return found

    def ask_for(
        self, service: str, region: str, operation: str, missing: tuple[str, ...], **request: Any
    ) -> Answer | None:
        """The same, and None when the error's code is among `missing`: there is nothing. Raises UnansweredError."""
        found = self._send(service, region, operation, request)
        if isinstance(found, Exception):
            if _code(found) in missing:
                return None
            raise _unanswered(service, region, operation, found) from found
        return found

    def _send(
        self, service: str, region: str, operation: str, request: Mapping[str, Any], *, paged: bool = True
    ) -> Answer | Exception:
        if region in self._gone and service not in EVERYWHERE:
            return self._silent["sts", region]
        if (service, region) in self._silent:
            return self._silent[service, region]
        question = repr((service, region, operation, sorted(request.items(), key=repr)))
        with self._lock:
            lock = self._locks.setdefault(question, threading.Lock())
        thread = threading.get_ident()
        self._awaited[thread] = service
        try:
            with lock:
                if question not in self._answers:
                    self._answers[question] = self._answered(service, region, operation, request, paged=paged)
                return self._answers[question]
        finally:
            self._awaited.pop(thread)

    def _answered(
        self, service: str, region: str, operation: str, request: Mapping[str, Any], *, paged: bool
    ) -> Answer | Exception:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._request(service, region, operation, request, paged=paged)
        except (BotoCoreError, ClientError) as error:
            failure: Exception = error
        if _is_down(failure):
            # Retrying took long enough: what else was to be asked there is not.
            self._silent.setdefault((service, region), failure)
        return failure

    def _request(self, service: str, region: str, operation: str, request: Mapping[str, Any], *, paged: bool) -> Answer:
        client = self.client(service, region)
        if paged and client.can_paginate(operation):
            pages: Answer = client.get_paginator(operation).paginate(**request).build_full_result()
            return pages
        answer: Answer = getattr(client, operation)(**request)
        return answer


def _refuse_changes(model: Any, **_: Any) -> None:
    if not READS.fullmatch(model.name):
        raise ChangeRefusedError(f"{model.service_model.service_name}:{model.name} does not only read")


def _is_down(error: Exception) -> bool:
    """Return whether there was no response, or a server error, after the client's own retries."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= SERVER_FAULT
    return isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))


def _code(error: Exception) -> str:
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _unanswered(service: str, region: str, operation: str, error: Exception) -> UnansweredError:
    told = " ".join(str(error).split())
    return UnansweredError(
        f"{service} of {region} cannot be asked ({operation}): {told}",
        service=service,
        unreachable=_is_down(error),
    )


def live_of(
    settings: Settings,
    target: Target,
    emulator: BreakableAws | None,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> LiveTarget:
    """Return the live target of the settings; `emulator` is None on AWS.

    Raises:
        DeploymentError: not all stacks are deployed, their states cannot be read, or the embedded AWS does not run.
    """
    if emulator is not None and not emulator.running():
        raise DeploymentError("the embedded AWS does not run: start it with `hdr up`")
    states: dict[str, bytes] = {}

    def read(stack: str) -> bytes | None:
        found = target.read_state(stack)
        states[stack] = found or b""
        return found

    for stack in STACKS:
        if not read_settled(stack, partial(read, stack)).deployed:
            raise DeploymentError(f"nothing is deployed of {stack}: deploy first (`hdr up` or `hdr deploy`)")
    return LiveTarget(
        settings=settings,
        target=target,
        deployed=TerraformState(states=states, regions=settings.regions),
        emulator=emulator,
        probe=api_prober(target),
        now=now,
    )
