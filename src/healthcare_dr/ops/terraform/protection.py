"""Find what a plan would destroy although it cannot be created again, and refuse plans in which it is not named.

Every bucket has `force_destroy` and no table has deletion protection, so nothing in AWS stops a plan that replaces a
table. What is protected: tables and their replicas, buckets, keys, hosted zones, and log groups with a retention of a
year or more, which hold access and flow logs. The log groups of functions serve debugging and are not protected.

Four changes destroy data although Terraform calls them updates: a table loses a replica, a replica gets another key
(the provider deletes it and creates it again), a log group gets a shorter retention, and the lifecycle of a bucket
deletes objects earlier.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.ports import Progress
from healthcare_dr.ops.terraform.events import PlannedChange

Action = Literal["destroy", "replace", "forget", "shorten"]

HEADING: Final = "This plan destroys what cannot be created again:"
OPTION: Final = "--allow-destroy"
LONG_RETENTION_DAYS: Final = 365
NEVER: Final = 0  # the retention of a log group that keeps its events


@dataclass(frozen=True)
class _Kind:
    name: str
    named_by: str
    """The attribute with the name that AWS shows."""
    loss: str


TABLE: Final = _Kind("table", "name", "all its items, in every region")
REPLICA: Final = _Kind("replica", "region_name", "the table's copy in this region, and its points of recovery")
LOG_GROUP: Final = _Kind("log group", "name", "its events")
_KEY: Final = _Kind("key", "key_id", "everything that it encrypts, after the waiting period of its deletion")
BUCKET: Final = _Kind("bucket", "bucket", "every version of every object")
KINDS: Final[Mapping[str, _Kind]] = {
    "aws_cloudwatch_log_group": LOG_GROUP,
    "aws_dynamodb_table": TABLE,
    "aws_kms_key": _KEY,
    "aws_kms_replica_key": _KEY,
    "aws_route53_zone": _Kind("hosted zone", "name", "its records and name servers: delegate the domain again"),
    "aws_s3_bucket": BUCKET,
}
LIFECYCLE: Final = "aws_s3_bucket_lifecycle_configuration"
"""Not protected itself, because without it a bucket keeps its objects; but it may delete them earlier."""
# Actions of the event stream that destroy nothing; `update` destroys only in the types of UPDATES.
HARMLESS: Final = frozenset({"create", "import", "move", "noop", "read"})
UPDATES: Final = frozenset({"aws_cloudwatch_log_group", "aws_dynamodb_table", LIFECYCLE})


@dataclass(frozen=True)
class ProtectedChange:
    """A protected resource that a plan would destroy, replace, no longer manage (`forget`), or shorten."""

    address: str
    """`<stack>:<address in the plan>`, because both regional stacks have the same addresses. A replica is
    `<stack>:<address of its table>.replica.<region>`."""
    action: Action
    kind: str
    name: str
    loss: str

    def line(self) -> str:
        """Return one line that states what would be lost."""
        unmanaged = "it stays in AWS, but no later deployment or destruction includes it"
        loss = unmanaged if self.action == "forget" else self.loss
        return f"{self.address} ({self.action}): {self.kind} {self.name}: {loss}"


def may_destroy(changes: Iterable[PlannedChange]) -> bool:
    """Return whether a plan with these changes has to be inspected.

    The event stream does not contain attributes. Reading them takes seconds, so the stream is checked first.
    """
    return any(
        change.kind in (*KINDS, LIFECYCLE)
        and change.action not in HARMLESS
        and (change.action != "update" or change.kind in UPDATES)
        for change in changes
    )


def protected_changes(stack: str, plan: Mapping[str, Any]) -> tuple[ProtectedChange, ...]:
    """Return the protected resources that a plan would destroy; `plan` is the output of `terraform show -json`."""
    return tuple(
        found
        for resource in plan.get("resource_changes") or ()
        if resource.get("mode") == "managed"
        for found in _of_resource(stack, resource)
    )


def _of_resource(stack: str, resource: Mapping[str, Any]) -> Iterator[ProtectedChange]:
    change, kind = resource["change"], KINDS.get(resource["type"])
    actions = frozenset(change["actions"])
    before: Mapping[str, Any] = change.get("before") or {}
    after: Mapping[str, Any] = change.get("after") or {}
    address = f"{stack}:{resource['address']}"
    if kind is None:
        if resource["type"] == LIFECYCLE:
            yield from _of_lifecycle(address, before, after)
        return

    def found(action: Action) -> ProtectedChange:
        return ProtectedChange(address, action, kind.name, str(before.get(kind.named_by, "")), kind.loss)

    if kind is LOG_GROUP and not _keeps_long(before):
        return
    if "delete" in actions:
        yield found("replace" if "create" in actions else "destroy")
    elif "forget" in actions:
        yield found("forget")
    elif kind is TABLE and "update" in actions:
        yield from _of_replicas(address, before, after)
    elif kind is LOG_GROUP and "update" in actions and _retention(after) < _retention(before):
        yield found("shorten")


def _of_replicas(address: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ProtectedChange]:
    # A value that is known only after the change is absent in `after`.
    left = {replica.get("region_name"): replica.get("kms_key_arn") for replica in after.get("replica") or ()}
    for replica in before.get("replica") or ():
        region = replica["region_name"]
        if region in left and left[region] == replica.get("kms_key_arn"):
            continue
        action: Action = "replace" if region in left else "destroy"
        name = f"of {before.get(TABLE.named_by)} in {region}"
        yield ProtectedChange(f"{address}.replica.{region}", action, REPLICA.name, name, REPLICA.loss)


class _Expiration(NamedTuple):
    """What a rule of a lifecycle deletes, and when."""

    what: str
    after: float | str
    """The number of days, or a date."""
    kept: int
    """The number of newer old versions that are kept longer."""
    objects: Any
    """The filter; None selects all objects."""


def _of_lifecycle(address: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[ProtectedChange]:
    if not before:
        return  # it is created with its bucket
    present = list(_expirations(before))
    earlier = [new for new in _expirations(after) if not any(_deletes_as_early(old, new) for old in present)]
    if earlier:
        loss = ", ".join(
            dict.fromkeys(
                f"{new.what} {'after' if isinstance(new.after, str) else 'older than'} {new.after}"
                f"{'' if isinstance(new.after, str) else ' days'}"
                for new in earlier
            )
        )
        yield ProtectedChange(address, "shorten", BUCKET.name, str(before.get(BUCKET.named_by, "")), loss)


def _expirations(lifecycle: Mapping[str, Any]) -> Iterator[_Expiration]:
    for rule in lifecycle.get("rule") or ():
        if rule.get("status") != "Enabled":
            continue
        objects = _selected(rule)
        for block in rule.get("expiration") or ():
            # A block that only removes delete markers has neither.
            if when := block.get("date") or block.get("days"):
                yield _Expiration("objects", when, 0, objects)
        for block in rule.get("noncurrent_version_expiration") or ():
            days, kept = block.get("noncurrent_days") or 0, block.get("newer_noncurrent_versions") or 0
            yield _Expiration("old versions of objects", days, int(kept), objects)


def _selected(rule: Mapping[str, Any]) -> Any:
    """Return the criteria of a rule, without the empty ones; None if it has none."""
    return _filled([rule.get("prefix"), rule.get("filter")])


def _filled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: found for name, each in sorted(value.items()) if (found := _filled(each)) is not None} or None
    if isinstance(value, list):
        return [found for each in value if (found := _filled(each)) is not None] or None
    return value or None


def _deletes_as_early(old: _Expiration, new: _Expiration) -> bool:
    """Return whether an expiration deletes all that another one deletes, and not later."""
    return (
        old.what == new.what
        and old.objects in (None, new.objects)
        and isinstance(old.after, str) == isinstance(new.after, str)
        and old.after <= new.after  # type: ignore[operator]  # both are days, or both are dates of ISO 8601
        and old.kept <= new.kept
    )


def _keeps_long(group: Mapping[str, Any]) -> bool:
    return _retention(group) >= LONG_RETENTION_DAYS


def _retention(group: Mapping[str, Any]) -> float:
    days = group.get("retention_in_days") or NEVER
    return float("inf") if days == NEVER else float(days)


def _resource_of(name: str) -> str:
    """Return the address of the resource that a name belongs to: of a replica, its table."""
    return name.partition(".replica.")[0].partition("[")[0]


class DestructionGuard:
    """Refuses the plans of one deployment that would destroy protected resources which the operator has not named."""

    def __init__(self, allowed: Collection[str], progress: Progress, *, existing: Collection[str]) -> None:
        """Create a guard.

        Args:
            allowed: the names that the operator has given.
            progress: receives the list of what would be destroyed.
            existing: the addresses of all resources in the states and in the configuration. A name of one of these
                may match nothing, because an interrupted deployment has carried it out already.
        """
        self._allowed = frozenset(allowed)
        self._unmatched = set(allowed)
        self._progress = progress
        self._existing = frozenset(existing)

    def check(self, changes: Collection[ProtectedChange], *, planned_later: Collection[str] = ()) -> None:
        """Check the protected changes of plans, before any of these plans is carried out.

        Args:
            changes: of all plans that exist so far.
            planned_later: stacks whose final plan does not exist yet.

        Raises:
            DeploymentError: a resource is not named, or a name is not that of a resource.
        """
        self._unmatched -= {change.address for change in changes}
        wrong = sorted(name for name in self._unmatched if _resource_of(name) not in self._existing)
        if wrong:
            possible = ", ".join(change.address for change in changes) or "nothing: leave the option out"
            raise DeploymentError(
                f"{OPTION} {', '.join(wrong)} is not the name of a resource, so the plan was not carried out. If an "
                f"earlier deployment has destroyed it, leave it out; else correct it. It could name {possible}"
            )
        done = sorted(name for name in self._unmatched if name.partition(":")[0] not in planned_later)
        self._unmatched.difference_update(done)
        for name in done:
            self._progress.say(f"{name}: nothing to destroy, or it is done already")
        refused = [change for change in changes if change.address not in self._allowed]
        if not refused:
            return
        self._progress.say(HEADING)
        for change in changes:
            self._progress.say(f"  {change.line()}")
        addresses = sorted({change.address for change in changes} | self._allowed)
        raise DeploymentError(
            f"the plan was not carried out, because {len(refused)} of what it destroys "
            f"{'is' if len(refused) == 1 else 'are'} not named: to lose it, name each: "
            f"`hdr deploy {' '.join(f'{OPTION} {address}' for address in addresses)}`"
        )
