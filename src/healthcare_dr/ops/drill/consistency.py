"""Check the history of a drill: registers per region, appends in both regions, and sessions of clients.

The input is the operations that clients recorded and, for each region, the versions of each record after healing.
Nothing is assumed about how the platform works inside.

- **register**: in one region a record is a register with compare-and-set. A read returns the newest version that the
  region has. A write replaces the version that it names, once. Versions of the other region arrive at any time after
  they were written, and move the register forward only. A read may return such a version a moment before writes are
  conditional on it (ADR 6). The history of a region must be linearizable in this model (Herlihy and Wing,
  "Linearizability: a correctness condition for concurrent objects", TOPLAS 12(3), 1990).
- **append**: the list of a record is judged as Elle judges lists (Kingsbury and Alvaro, "Elle: inferring isolation
  anomalies from experimental observations", VLDB 14(3), 2020): each value is unique, so a list shows which appends it
  contains and in which order. Anomalies have Elle's names where it has one.
- **session**: a read that names a version in `Minimum-Version` returns that version or a newer one: one that descends
  from it, or a concurrent one, which is current where the region has both (ADR 36). Clients cannot see which versions
  a region has; the simulation checks that. (Terry et al., "Session guarantees for weakly consistent replicated data",
  PDIS 1994.)

Deciding linearizability takes exponential time in general. Here it takes n log n, because versions are unique and
ordered, and each write names what it replaces (compare Gibbons and Korach, "Testing shared memories", SIAM J. Comput.
26(4), 1997). The order of the versions is the only candidate for the order of the writes. Precedence in real time is an
interval order, so if it contradicts the order of versions, two operations already show it: it is enough to compare each
operation with the newest version of all operations that ended before it began. These two operations are also the
shortest explanation.

An operation without a response, or with a server error, is indeterminate: it may take effect at any later time, or
never. If a version with its value exists, it took effect, and only its beginning bounds when.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from math import inf
from typing import Final, get_args

from healthcare_dr.ops.drill.journal import Anomaly, Check, Consistency, Operation

MOST_SHOWN: Final = 3
"""The number of anomalies of one name and check that a result contains. All are counted."""
LOST_VERSION: Final = "lost version"
"""The name of the only anomaly that late replication can cause: until a version arrives, it seems lost."""
ABSENT: Final = (404, 410)
"""Responses to a read that returns no version."""


def tips(follows: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """Return the versions that no version follows, newest first; more than one in a conflict.

    `follows` contains the versions that each version follows.
    """
    followed = {other for others in follows.values() for other in others}
    return sorted(follows.keys() - followed, reverse=True)


@dataclass(frozen=True)
class Lineage:
    """The versions of a record in one region: the versions that each one follows, and the list of each one.

    A deleted version has no list.
    """

    follows: Mapping[str, Sequence[str]]
    lists: Mapping[str, Sequence[str]]

    @property
    def tips(self) -> Sequence[str]:
        """The last version of each branch, newest first."""
        return tips(self.follows)


Lineages = Mapping[str, Mapping[str, Lineage | None]]
"""By region and record; None where the region gave no answer."""


def check_history(operations: Iterable[Operation], lineages: Lineages) -> Consistency:
    """Check a history against the versions of all regions after healing.

    Only records in `lineages` have versions to compare with. All others were created and not used again.
    """
    ordered = sorted(operations, key=lambda operation: (operation.began, operation.ended))
    by_record: dict[str, list[Operation]] = defaultdict(list)
    for operation in ordered:
        by_record[operation.record].append(operation)
    found: list[Anomaly] = []
    unanswered = set[str]()
    for record, history in by_record.items():
        regions = {region: records[record] for region, records in lineages.items() if record in records}
        if any(lineage is None for lineage in regions.values()):
            unanswered.add(record)
        known = {region: lineage for region, lineage in regions.items() if lineage is not None}
        complete = bool(known) and known.keys() == regions.keys()
        found += RecordCheck(record=record, operations=history, lineages=known, complete=complete).run()
    return Consistency(
        operations=len(ordered),
        indeterminate=sum(operation.indeterminate for operation in ordered),
        records=sum(any(map(_comparable, history)) for history in by_record.values()),
        appends=sum(operation.kind == "append" and operation.done for operation in ordered),
        session_reads=sum(each.kind == "read" and each.done and each.named is not None for each in ordered),
        found={name: sum(each.check == name for each in found) for name in get_args(Check)},
        anomalies=tuple(_first_of_each(found)),
        unanswered=tuple(sorted(unanswered)),
    )


def _first_of_each(found: Sequence[Anomaly]) -> Iterator[Anomaly]:
    """Return the first anomalies of each name and check, in the order of time."""
    shown: dict[tuple[Check, str], int] = defaultdict(int)
    for anomaly in sorted(found, key=lambda each: each.operations[-1].ended if each.operations else inf):
        name = (anomaly.check, anomaly.name)
        shown[name] += 1
        if shown[name] <= MOST_SHOWN:
            yield anomaly


def _comparable(operation: Operation) -> bool:
    """Return whether a read or an update shows which version its region had."""
    absent = ABSENT if operation.kind == "read" else (412,)
    return operation.kind != "create" and (operation.done or operation.status in absent)


@dataclass(frozen=True, kw_only=True)
class RecordCheck:
    """Checks the history of one record. `operations` are in the order of their beginning.

    `lineages` are by region; `complete` is whether every region has answered.
    """

    record: str
    operations: Sequence[Operation]
    lineages: Mapping[str, Lineage]
    complete: bool
    _found: dict[tuple[object, ...], Anomaly] = field(default_factory=dict, init=False)
    """By check, name and subject, so that nothing is reported twice."""

    def run(self) -> list[Anomaly]:
        """Return all anomalies."""
        for region in sorted({each.region for each in self.operations if each.region is not None}):
            self._register(region)
        self._sessions()
        self._lists()
        if self.complete:
            self._survival()
        return list(self._found.values())

    def _add(
        self,
        check: Check,
        name: str,
        subject: object,
        explanation: str,
        *operations: Operation | None,
        region: str | None = None,
    ) -> None:
        shown = dict.fromkeys(self._recorded(each) for each in operations if each is not None)
        anomaly = Anomaly(
            check=check,
            name=name,
            record=self.record,
            region=region,
            explanation=explanation,
            operations=tuple(sorted(shown, key=lambda each: (each.began, each.ended))),
        )
        self._found.setdefault((check, name, subject), anomaly)

    def _recorded(self, operation: Operation) -> Operation:
        """Return an operation as it was recorded: with its own end, also if it took effect without a response."""
        for each in self.operations:
            if each.indeterminate and replace(each, ended=inf, version=operation.version) == operation:
                return each
        return operation

    # What is known of the versions

    @cached_property
    def _follows(self) -> Mapping[str, Sequence[str]]:
        """The versions that each version follows, as all regions and all acknowledgements state."""
        found: dict[str, Sequence[str]] = {}
        for each in self._writes:
            found[each.version or ""] = () if each.named is None else (each.named,)
        for lineage in self.lineages.values():
            found |= lineage.follows
        return found

    @cached_property
    def _writes(self) -> Sequence[Operation]:
        """The creations and appends that took effect. Of an indeterminate one, the end is infinite."""
        done = [each for each in self.operations if each.kind != "read" and each.done]
        acknowledged = {each.version for each in done}
        recovered: dict[str, Operation] = {}
        for each in self.operations:
            if each.kind == "append" and each.indeterminate:
                for version, named in self._added.get(each.value or "", ()):
                    # Of several attempts, the first one has the longest interval.
                    by_this = named == each.named and version.endswith(f"-{each.region}")
                    if by_this and version not in acknowledged and version not in recovered:
                        recovered[version] = replace(each, ended=inf, version=version)
        return sorted((*done, *recovered.values()), key=lambda each: each.version or "")

    @cached_property
    def _added(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """By value, the versions that added it, each with the version that it replaced."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for lineage in self.lineages.values():
            for version, follows in lineage.follows.items():
                # Without the list before, it is unknown what a version added.
                if len(follows) == 1 and follows[0] in lineage.follows:
                    before = set(lineage.lists.get(follows[0], ()))
                    for value in lineage.lists.get(version, ()):
                        if value not in before:
                            found[value][version] = follows[0]
        return {value: list(versions.items()) for value, versions in found.items()}

    @cached_property
    def _repeated(self) -> frozenset[str]:
        """The values that several versions added: a client whose response was lost repeated the append elsewhere.

        The versions of the two regions may contain them in opposite orders, so that no merge can keep both.
        """
        return frozenset(value for value, versions in self._added.items() if len(versions) > 1)

    @cached_property
    def _writer(self) -> Mapping[str, Operation]:
        """The write of each version, where it is known."""
        return {each.version or "": each for each in self._writes}

    @cached_property
    def _appends(self) -> Mapping[str, Sequence[Operation]]:
        """All attempts to append each value."""
        found: dict[str, list[Operation]] = defaultdict(list)
        for each in self.operations:
            if each.kind == "append" and each.value is not None:
                found[each.value].append(each)
        return found

    # The register of a region

    def _register(self, region: str) -> None:
        mine = [each for each in self.operations if each.region == region]
        writes = [each for each in self._writes if each.region == region]
        reads = [each for each in mine if each.kind == "read" and (each.done or each.status in ABSENT)]
        self._compare_and_set(region, writes, reads)
        newest = _NewestBefore([*reads, *(each for each in writes if each.ended < inf)])
        for each in (*reads, *writes):
            needed = each.version if each.kind == "read" else each.named
            origin = self._origin.get(needed or "")
            if origin is not None and origin.began > each.ended:
                self._add(
                    "register", "read from the future", (region, needed),
                    f"{needed} was {'read' if each.kind == 'read' else 'replaced'} before "
                    f"{'its write' if origin.version == needed else f'the write of {origin.version} before it'} began",
                    each, origin, region=region,
                )  # fmt: skip
        for read in reads:
            # It took effect neither before it began, nor before the version existed.
            since = self._since(read)
            before = newest.ended_before(since)
            if before is not None and (before.version or "") > (read.version or ""):
                self._add(
                    "register", "stale read", (region, read.version, before.version),
                    f"{read.version or 'no version'} was read after {before.version} had been "
                    f"{'read' if before.kind == 'read' else 'written'} in the same region",
                    before, read, self._origin.get(read.version or "") if since > read.began else None,
                    region=region,
                )  # fmt: skip
        for each in mine:
            if each.kind == "append" and each.status == 412:
                self._refusal(region, each, reads, newest.ended_before(each.began))

    @cached_property
    def _origin(self) -> Mapping[str, Operation]:
        """Of each version, the last write to begin among its own and those of the versions that it replaced.

        The version cannot have existed before that write began.
        """
        found: dict[str, Operation] = {}
        for each in self._writes:
            before = found.get(each.named or "", each)
            found[each.version or ""] = before if before.began > each.began else each
        return found

    def _since(self, operation: Operation) -> float:
        """Return the time before which an operation cannot have taken effect."""
        origin = self._origin.get(operation.version or "")
        return operation.began if origin is None else max(operation.began, origin.began)

    def _compare_and_set(self, region: str, writes: Sequence[Operation], reads: Sequence[Operation]) -> None:
        """Check that the writes of a region replace one version after another, in the order of real time."""
        first_read: dict[str, Operation] = {}
        for read in sorted(reads, key=lambda each: each.ended, reverse=True):
            first_read[read.version or ""] = read
        replaced: dict[str, Operation] = {}
        before: Operation | None = None
        latest: Operation | None = None
        for each in writes:
            named, version = each.named or "", each.version or ""
            read_first = first_read.get(version, each)
            seen = read_first if read_first.ended < each.ended else each
            if named in replaced:
                self._add(
                    "register", "lost update", (region, named),
                    f"{replaced[named].version} and {version} both replaced {named or 'nothing'} in one region",
                    replaced[named], each, region=region,
                )  # fmt: skip
            elif before is not None and (before.version or "") > named:
                self._add(
                    "register", "stale write", (region, version),
                    f"{version} replaced {named}, which is older than {before.version} of the same region",
                    before, each, region=region,
                )  # fmt: skip
            elif latest is not None and seen.ended < self._since(latest):
                self._add(
                    "register", "reordered write", (region, version),
                    f"{version} was {'read' if seen.kind == 'read' else 'acknowledged'} before the older "
                    f"{latest.version} can have been written",
                    seen, latest, self._origin.get(latest.version or ""), region=region,
                )  # fmt: skip
            replaced[named], before = each, each
            latest = each if latest is None or self._since(each) > self._since(latest) else latest

    def _refusal(self, region: str, refused: Operation, reads: Sequence[Operation], before: Operation | None) -> None:
        """Check that a write was refused only if the region may have had another version than the one it names."""
        if refused.named is None or before is None or before.version != refused.named:
            return
        # What a later read did not return cannot have been there.
        bound = min(
            (each for each in reads if each.began > refused.ended), key=lambda each: each.version or "", default=None
        )
        most = "~" if bound is None else bound.version or ""
        versions = {*self._follows, *(each.version for each in self.operations if each.version is not None)}
        for version in versions:
            writer = self._writer.get(version)
            if refused.named < version <= most and (writer is None or writer.began <= refused.ended):
                return
        if not self.complete and any(
            each.kind == "append" and each.indeterminate and each.began <= refused.ended for each in self.operations
        ):
            return
        self._add(
            "register", "unfounded refusal", (region, refused.value),
            f"a write that names {refused.named} was refused, and the region had no other version",
            before, refused, bound, region=region,
        )  # fmt: skip

    # Sessions

    def _sessions(self) -> None:
        for read in self.operations:
            if read.kind != "read" or read.version is None or read.named is None or read.version >= read.named:
                continue
            writer = self._writer.get(read.named)
            mine = writer is not None and writer.client == read.client
            name = "client misses its own write" if mine else "client goes back in time"
            shown = writer if mine else self._last_seen(read)
            self._add(
                "session", name, (read.client, read.named, read.version),
                f"{read.version} is older than {read.named}, which Minimum-Version names", shown, read,
                region=read.region,
            )  # fmt: skip

    def _last_seen(self, read: Operation) -> Operation | None:
        """Return the operation in which the client of a read received the version that the read names."""
        return next(
            (each for each in self.operations if each.client == read.client and each.version == read.named), None
        )

    # Lists

    def _lists(self) -> None:
        """Check each list by itself, and with the lists of the versions that it follows."""
        shown: dict[str, tuple[Sequence[str], Operation | None]] = {}
        for version, values, read in self._shown():
            self._values(version, values, read)
            first, by = shown.setdefault(version, (values, read))
            if tuple(first) != tuple(values):
                self._add(
                    "append", "changed version", version, f"{version} has two lists: {_difference(first, values)}",
                    by, read,
                )  # fmt: skip
        for version, follows in self._follows.items():
            if version in shown:
                for other in follows:
                    if other in shown:
                        self._succession(version, shown[version], other, shown[other], merged=len(follows) > 1)

    def _shown(self) -> Iterator[tuple[str, Sequence[str], Operation | None]]:
        """Return each list that was shown: its version, and the operation that returned it, if a client read it."""
        for each in self.operations:
            if each.version is not None:
                yield each.version, each.values, each
        for lineage in self.lineages.values():
            for version, values in lineage.lists.items():
                yield version, values, None

    def _values(self, version: str, values: Sequence[str], read: Operation | None) -> None:
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            self._add(
                "append", "duplicate append", twice, f"{version} has the value {twice} more than once",
                *self._appends.get(twice, ())[:1], read,
            )  # fmt: skip
        for value in values:
            attempts = self._appends.get(value, ())
            if not attempts:
                self._add(
                    "append", "garbage read", value, f"{version} has the value {value}, which no client appended", read
                )
            elif all(each.refused for each in attempts):
                self._add(
                    "append", "aborted read (G1a)", value, f"{version} has the value {value}, which was refused",
                    *attempts, read,
                )  # fmt: skip

    def _succession(
        self,
        version: str,
        new: tuple[Sequence[str], Operation | None],
        other: str,
        old: tuple[Sequence[str], Operation | None],
        *,
        merged: bool,
    ) -> None:
        """Check that a version kept the list of a version that it follows: as its beginning, unless it merges."""
        after, before = new[0], old[0]
        present = set(after)
        for value in before:
            if value not in present:
                self._add(
                    "append", "lost update", value,
                    f"{other} has the value {value}, and {version}, which follows it, does not",
                    *self._acknowledged(value)[:1], self._writer.get(version) or new[1],
                )  # fmt: skip
        if merged:
            ordered = set(before) - self._repeated
            expected, kept = ([value for value in values if value in ordered] for values in (before, after))
        else:
            expected, kept = list(before), list(after[: len(before)])
        if kept != expected and present >= set(before):
            self._add(
                "append", "incompatible order", version,
                f"{version} does not keep the order of {other}: {_difference(before, after)}",
                self._writer.get(other) or old[1], self._writer.get(version) or new[1],
            )  # fmt: skip

    def _acknowledged(self, value: str) -> Sequence[Operation]:
        """Return the acknowledged attempts to append a value, or else all of them."""
        attempts = self._appends.get(value, ())
        return [each for each in attempts if each.done] or attempts

    def _survival(self) -> None:
        """Check that both regions have, in the end, every version that a client saw and every acknowledged append."""
        seen: dict[str, Operation] = {}
        for each in self.operations:
            if each.version is not None:
                seen.setdefault(each.version, each)
        everywhere = set(seen).union(*(lineage.follows for lineage in self.lineages.values()))
        for region, lineage in self.lineages.items():
            for version in sorted(everywhere - lineage.follows.keys()):
                first = self._writer.get(version) or seen.get(version)
                what = "was acknowledged" if first and first.kind != "read" else "was read" if first else "exists"
                where = "" if version in seen else " in the other region"
                self._add(
                    "append", LOST_VERSION, (region, version),
                    f"{version} {what}{where}, and is not in {region} after healing", first, region=region,
                )  # fmt: skip
            self._unwritten(lineage)
            last = [set(lineage.lists.get(tip, ())) for tip in lineage.tips]
            final = set[str]().union(*last)
            for each in self.operations:
                # A version that is missing as a whole is reported above.
                lost = each.kind == "append" and each.version in lineage.follows and each.value not in final
                if lost:
                    self._add(
                        "append", "lost update", each.value,
                        f"the value {each.value} was acknowledged in {each.version}, and is not in "
                        f"{lineage.tips[0]}, the last version",
                        each, self._writer.get(lineage.tips[0]), region=region,
                    )  # fmt: skip

    def _unwritten(self, lineage: Lineage) -> None:
        """Check that a client wrote each version. Merges are those of the drill, which its clients do not record."""
        created = any(each.kind == "create" for each in self.operations)
        for version, follows in lineage.follows.items():
            if version not in self._writer and len(follows) < 2 and (follows or created):
                self._add(
                    "append", "unwritten version", version, f"{version} exists, and no client can have written it",
                    *(self._writer.get(other) for other in follows),
                )  # fmt: skip


class _NewestBefore:
    """Finds, of operations that ended before a time, the one with the newest version."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        ordered = sorted(operations, key=lambda each: each.ended)
        self._ends = [each.ended for each in ordered]
        self._newest: list[Operation] = list(accumulate(ordered, _newer))

    def ended_before(self, at: float) -> Operation | None:
        place = bisect_left(self._ends, at)
        return self._newest[place - 1] if place else None


def _newer(one: Operation, two: Operation) -> Operation:
    return two if (two.version or "") > (one.version or "") else one


def _difference(one: Sequence[str], two: Sequence[str]) -> str:
    """Return where two lists begin to differ."""
    same = next((place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return f"after {same} equal values {_brief(one[same:])} and {_brief(two[same:])}"


def _brief(values: Sequence[str]) -> str:
    shown = ", ".join(values[:3])
    return "nothing" if not values else f"{shown}, …" if len(values) > 3 else shown
