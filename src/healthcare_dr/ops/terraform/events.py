"""Parse the events of Terraform's `-json` stream, and condense diagnostics into one line that states the fix.

Source: Terraform's "Machine-Readable UI" (format version 1.x): one JSON object per line with a `type`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from patient_api.contract.functions import API

Phase = Literal["start", "progress", "complete", "errored"]
PHASES: dict[str, Phase] = {
    "apply_start": "start",
    "apply_progress": "progress",
    "apply_complete": "complete",
    "apply_errored": "errored",
}


@dataclass(frozen=True)
class PlannedChange:
    """A resource that a plan would change; `action` is create, update, delete, replace, move, import or remove.

    A removed resource is forgotten: it stays in AWS and leaves the state. `kind` is the type of the resource.
    """

    address: str
    action: str
    kind: str = ""


@dataclass(frozen=True)
class ResourceEvent:
    """The progress of a resource's change; `seconds` since it started."""

    phase: Phase
    address: str
    action: str
    seconds: float


@dataclass(frozen=True)
class ChangeSummary:
    """The numbers of resources that a plan would change, or that an operation has changed."""

    add: int
    change: int
    remove: int


@dataclass(frozen=True)
class Diagnostic:
    """An error or a warning."""

    severity: str
    summary: str
    detail: str
    address: str


@dataclass(frozen=True)
class OutputChange:
    """An output that a plan would change."""

    name: str
    action: str


@dataclass(frozen=True)
class Text:
    """A line that is not an event, such as the output of a crash."""

    line: str


Event = PlannedChange | ResourceEvent | ChangeSummary | Diagnostic | Text | tuple[OutputChange, ...]


def parse(line: str) -> Event | None:
    """Return the event of one line; None for one that operators do not need (versions, refreshes, blank lines)."""
    line = line.strip()
    if not line:
        return None
    try:
        message = json.loads(line)
    except ValueError:
        return Text(line)
    if not isinstance(message, dict):
        return Text(line)
    return _event(message)


def diagnostic(raw: dict[str, Any]) -> Diagnostic:
    """Parse a diagnostic of the stream or of `validate -json`."""
    return Diagnostic(
        severity=str(raw.get("severity", "error")),
        summary=str(raw.get("summary", "")),
        detail=str(raw.get("detail", "")),
        address=str(raw.get("address", "")),
    )


def _event(message: dict[str, Any]) -> Event | None:
    kind = message.get("type")
    if kind in PHASES:
        hook = message["hook"]
        return ResourceEvent(
            phase=PHASES[kind],
            address=hook["resource"]["addr"],
            action=hook["action"],
            seconds=float(hook.get("elapsed_seconds", 0)),
        )
    if kind == "planned_change":
        resource = message["change"]["resource"]
        return PlannedChange(
            address=resource["addr"], action=message["change"]["action"], kind=resource["resource_type"]
        )
    if kind == "change_summary":
        changes = message["changes"]
        return ChangeSummary(add=changes["add"], change=changes["change"], remove=changes["remove"])
    if kind == "diagnostic":
        return diagnostic(message["diagnostic"])
    if kind == "outputs":
        return tuple(
            OutputChange(name=name, action=value["action"])
            for name, value in message["outputs"].items()
            if value.get("action", "noop") != "noop"
        )
    return None


LONGEST = 400
INACTIVE_PEERING = re.compile(r"OperationNotPermitted: Peering \S+ is not active")

CREDENTIALS_FIX = (
    "give valid credentials in AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or sign in again"
)
# Patterns for summary and detail, with the line that replaces them. The first that matches is used.
KNOWN = (
    (r"Failed to (?:save|persist) state|errored\.tfstate",
     "the state could not be saved: once its place can be written again, push it with `{program} -chdir={folder} state "
     "push errored.tfstate`, then remove that file, if there is one"),
    (r"ExpiredToken|token (?:\S+ ){0,3}expired|security token included in the request is expired",
     f"the AWS credentials have expired: {CREDENTIALS_FIX}"),
    (r"No valid credential sources found|failed to refresh cached credentials",
     f"there are no AWS credentials: {CREDENTIALS_FIX}"),
    (r"InvalidClientTokenId|SignatureDoesNotMatch|UnrecognizedClientException",
     f"AWS rejects these credentials: {CREDENTIALS_FIX}"),
    (r"operation error (?P<service>[\w ]+): (?P<action>\w+),"
     r"[^\n]*(?:AccessDenied|UnauthorizedOperation|not authorized to perform)",
     "AWS refuses {service}:{action}: the credentials lack that permission"),
    (r"MemorySize[^\n]*less than or equal to (?P<limit>\d+)",
     f"this account allows functions of at most {{limit}} MB in this region, but the API needs {API.memory_mb} MB: "
     "open a support case for the memory of Lambda functions in both regions, because Service Quotas does not list it"),
    (r"(?P<what>LimitExceeded\w*|\w+LimitExceeded|ServiceQuotaExceeded\w*|TooManyBuckets)",
     "an AWS quota is used up ({what}): raise it in the Service Quotas console, or remove what is no longer needed"),
    (r"no available releases match the given constraints (?P<versions>[^\n]+)",
     "hashicorp/aws {versions} is not available: the mirror in HDR_PROVIDER_MIRROR, or the registry, lacks it"),
    (r"does\s+not\s+match\s+configured\s+version\s+constraint",
     "the .terraform.lock.hcl of this folder has another version of hashicorp/aws than HDR_PROVIDER_VERSION: remove "
     "that file, or set the version as it was"),
    (r"(?:Failed to query available provider packages|could not query provider registry|Failed to install provider)",
     "Terraform cannot get the provider hashicorp/aws from its registry: check the network, or name a local mirror in "
     "HDR_PROVIDER_MIRROR"),
    (r"Inconsistent dependency lock file|does not match any of the checksums",
     "the provider does not match .terraform.lock.hcl of this folder: remove that file if the change is intended"),
    (r"Backend configuration changed|Backend initialization required",
     "the state was kept elsewhere before (was HDR_STATE_BUCKET changed?): move it with "
     "`terraform init -migrate-state` in this folder, or set HDR_STATE_BUCKET as it was"),
    (r"BucketAlreadyExists\b|EntityAlreadyExists|ResourceInUseException[^\n]*already exists|already exists",
     "a resource exists already and belongs to no state here: import or remove it (`hdr down` clears the "
     "embedded AWS), or choose another ENVIRONMENT_SUFFIX"),
    (INACTIVE_PEERING.pattern,
     "the peering connection is not active in both regions yet: the same command goes on from where it stopped"),
    (r"connect: connection refused|no such host|i/o timeout|TLS handshake timeout",
     "AWS cannot be reached: check the network, or whether the embedded AWS runs (`hdr status`)"),
)  # fmt: skip


def condense(diagnostics: Sequence[Diagnostic], *, folder: Path, program: str) -> str:
    """Return one line with the first error and the number of others.

    `folder` is the working folder and `program` the executable, for the commands that fix the error.
    """
    errors = [item for item in diagnostics if item.severity == "error"]
    if not errors:
        return f"{program} failed without an error message"
    others = len({(error.summary, error.address) for error in errors}) - 1
    more = f" (and {others} more)" if others else ""
    return _line(errors[0], folder=folder, program=program) + more


def awaits_peering(diagnostics: Sequence[Diagnostic]) -> bool:
    """Return whether every error is that a peering connection is not active yet.

    The connection is active in the accepter's region first. Until the requester's region notices, AWS refuses its
    options, for which neither Terraform nor the provider waits.
    """
    errors = [item for item in diagnostics if item.severity == "error"]
    return bool(errors) and all(INACTIVE_PEERING.search(f"{error.summary}\n{error.detail}") for error in errors)


def read_text(output: str) -> list[Diagnostic]:
    """Parse the errors in the text output, which `init` writes in the same form in every version."""
    plain = "\n".join(line.strip("╷│╵ ") for line in output.splitlines())
    found = []
    for part in plain.split("Error: ")[1:]:
        summary, _, detail = part.partition("\n")
        # This one is a heading of the following errors.
        if not summary.startswith("Terraform encountered problems during initiali"):
            snippet = re.compile(r"^(on \S+ line \d+.*|\d+: .*)$", re.MULTILINE)
            found.append(Diagnostic(severity="error", summary=summary, detail=snippet.sub("", detail), address=""))
    return found


def _line(error: Diagnostic, *, folder: Path, program: str) -> str:
    text = f"{error.summary}\n{error.detail}"
    where = f"{error.address}: " if error.address and not error.address.startswith("provider[") else ""
    if "Error acquiring the state lock" in error.summary:
        return _locked(error.detail, folder=folder, program=program)
    for pattern, fix in KNOWN:
        if found := re.search(pattern, text, re.IGNORECASE):
            named = {name: value.strip() for name, value in found.groupdict().items()}
            message = fix.format(folder=folder, program=program, **named)
            return f"{where}{message} (Terraform: {_short(error.summary)})"
    detail = f": {_short(error.detail)}" if error.detail else ""
    return f"{where}{_short(error.summary)}{detail}"


def _locked(detail: str, *, folder: Path, program: str) -> str:
    lock = dict(re.findall(r"^\s*(ID|Path|Operation|Who|Created):\s+(.+?)\s*$", detail, re.MULTILINE))
    if "ID" not in lock:
        return f"the state cannot be locked: {_short(detail)}"
    since = lock.get("Created", "an unknown time").split(".")[0]
    operation = lock.get("Operation", "something").removeprefix("OperationType").lower()
    return (
        f"the state is locked by {lock.get('Who', 'an unknown user')} since {since} UTC ({operation}): wait for it to "
        f"end or, if it is dead, release the lock with `{program} -chdir={folder} force-unlock {lock['ID']}`"
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 1]}…"
