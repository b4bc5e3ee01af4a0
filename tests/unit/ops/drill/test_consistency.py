"""The checkers of histories: they accept what a model of two regions does, and name each anomaly put into it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import inf
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from healthcare_dr.ops.drill.consistency import MOST_SHOWN, Lineage, check_history
from healthcare_dr.ops.drill.journal import Anomaly, Consistency, Operation

ROOT = Path(__file__).parents[4]
EAST, WEST = "us-east-1", "us-west-2"
RECORD = "p1"


def stamp(number: int, region: str = EAST) -> str:
    return f"{number:013d}-0000-{region}"


@dataclass
class Region:
    """What a region has: reads return `newest`, and writes are conditional on `head`, which may be behind it."""

    name: str
    skew: int
    versions: set[str] = field(default_factory=set)
    head: str = ""
    last: int = 0

    @property
    def newest(self) -> str:
        return max(self.versions, default="")

    def next(self, now: int, *, after: str) -> str:
        millis = max(1000 + now + self.skew, self.last + 1, int(after[:13] or 0) + 1)
        self.last = millis
        return stamp(millis, self.name)


@dataclass
class Model:
    """Two regions and their clients, in random order; each operation takes effect between its beginning and its end.

    With `conditional` false, the east region does not check what a write names.
    """

    seed: int
    steps: int = 60
    conditional: bool = True
    dice: Random = field(init=False)
    operations: list[Operation] = field(default_factory=list)
    follows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unanswered: dict[int, str] = field(default_factory=dict)
    """By client, the value of an append whose response was lost. The client repeats it, in any region."""

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)  # noqa: S311 - repeatable, and no secret
        self.regions = [Region(EAST, self.dice.randrange(-5, 6)), Region(WEST, self.dice.randrange(-5, 6))]
        first = self.regions[0].next(0, after="")
        self.follows[first], self.lists[first] = (), ()
        self.regions[0].versions.add(first)
        self.regions[0].head = first
        self.operations.append(
            Operation(
                client=0, region=EAST, record=RECORD, kind="create", began=-3, ended=-2, status=201, version=first
            )
        )
        for now in range(self.steps):
            self.dice.choices([self.read, self.append, self.replicate, self.reconcile], [4, 4, 3, 3])[0](now)
        self.settle()

    def interval(self, now: int) -> tuple[float, float]:
        return now - self.dice.uniform(0, 3), now + self.dice.uniform(0, 3)

    def before(self, client: int, began: float) -> Operation | None:
        """Return the operation with the newest version that this client has completed."""
        mine = [each for each in self.operations if each.client == client and each.done and each.ended < began]
        return max(mine, key=lambda each: each.version or "", default=None)

    def behind(self, version: str) -> set[str]:
        return {version}.union(*(self.behind(other) for other in self.follows.get(version, ())))

    def read(self, now: int) -> None:
        region, client = self.dice.choice(self.regions), self.dice.randrange(3)
        began, ended = self.interval(now)
        known = self.before(client, began)
        named = known.version if known is not None and self.dice.random() < 0.7 else None
        status, version = 200, region.newest
        if not version:
            status = 404
        if named is not None and (not version or named not in self.behind(version)):
            status, version = 503, ""
        self.operations.append(
            Operation(
                client=client, region=region.name, record=RECORD, kind="read", began=began, ended=ended, named=named,
                status=status, version=version or None, values=self.lists.get(version, ()),
            )
        )  # fmt: skip

    def append(self, now: int) -> None:
        region, client = self.dice.choice(self.regions), self.dice.randrange(3)
        began, ended = self.interval(now)
        known = self.before(client, began)
        if known is None or known.version is None:
            return
        named = known.version
        repeated = self.unanswered.pop(client, None)
        value = str(now) if repeated is None or repeated in self.lists[named] else repeated
        arrived = named in region.versions
        allowed = region.head == named or (region.newest == named and region.head < named)
        if not self.conditional and region.name == EAST and arrived:
            allowed = True
        lost, status, version = self.dice.random() < 0.2, 412 if arrived else 503, None
        if allowed and not (lost and self.dice.random() < 0.5):
            status, version = 200, region.next(now, after=named)
            self.follows[version] = (named,)
            self.lists[version] = (*self.lists[named], value)
            region.versions.add(version)
            region.head = version
        operation = Operation(
            client=client, region=region.name, record=RECORD, kind="append", began=began, ended=ended, named=named,
            value=value, status=status, version=version, values=self.lists.get(version or "", ()),
        )  # fmt: skip
        if lost:
            self.unanswered[client] = value
            operation = replace(operation, status=None, version=None, values=())
        self.operations.append(operation)

    def replicate(self, _now: int) -> None:
        one, other = self.dice.sample(self.regions, 2)
        on_the_way = sorted(one.versions - other.versions)
        if on_the_way:
            other.versions.add(self.dice.choice(on_the_way))

    def reconcile(self, _now: int) -> None:
        region = self.dice.choice(self.regions)
        later = [version for version in region.versions if version > region.head]
        if later:
            region.head = self.dice.choice(later)

    def settle(self) -> None:
        """Replicate everything, and merge concurrent versions as the drill does."""
        tips = Lineage(self.follows, self.lists).tips
        if len(tips) > 1:
            merged = self.regions[0].next(self.steps, after=tips[0])
            self.follows[merged] = tuple(tips)
            united = list(self.lists[tips[0]])
            for tip in reversed(tips[1:]):
                united += [value for value in self.lists[tip] if value not in united]
            self.lists[merged] = tuple(united)

    @property
    def lineages(self) -> dict[str, dict[str, Lineage | None]]:
        return {region: {RECORD: Lineage(dict(self.follows), dict(self.lists))} for region in (EAST, WEST)}

    def check(self, operations: Sequence[Operation] | None = None, **lineages: Lineage) -> Consistency:
        """Check the history, or a changed one; `lineages` replace those of `east` and `west`."""
        found = self.lineages
        for name, lineage in lineages.items():
            found[{"east": EAST, "west": WEST}[name]] = {RECORD: lineage}
        return check_history(self.operations if operations is None else operations, found)

    def done(self, kind: str, **wanted: Any) -> list[int]:
        """Return the places of the successful operations of a kind with these values."""
        return [
            place
            for place, each in enumerate(self.operations)
            if each.kind == kind and each.done and all(getattr(each, name) == value for name, value in wanted.items())
        ]


seeds = st.integers(0, 2**32)


@given(seeds)
@settings(max_examples=300, deadline=None)
def test_histories_of_correct_regions_have_no_anomaly(seed: int) -> None:
    model = Model(seed)
    found = model.check()
    assert found.anomalies == ()
    assert found.operations == len(model.operations)
    assert found.appends == len(model.done("append"))


@given(seeds)
@settings(deadline=None)
def test_history_without_the_versions_of_a_region_has_no_anomaly(seed: int) -> None:
    model = Model(seed)
    lineages = model.lineages
    lineages[WEST] = {RECORD: None}
    found = check_history(model.operations, lineages)
    assert (found.anomalies, found.unanswered) == ((), (RECORD,))
    assert check_history(model.operations, {region: {RECORD: None} for region in (EAST, WEST)}).anomalies == ()


@given(seeds, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_in_which_operations_are_given_does_not_matter(seed: int, dice: Random) -> None:
    model = Model(seed, conditional=False)
    shuffled = list(model.operations)
    dice.shuffle(shuffled)
    assert {each.name for each in model.check(shuffled).anomalies} == {each.name for each in model.check().anomalies}


# Each anomaly is put into a correct history. A damage returns the result and the anomaly to be found, or None without a
# place for it.

Damaged = tuple[Consistency, str]
DAMAGES: list[Callable[[Model], Damaged | None]] = []


def damage(function: Callable[[Model], Damaged | None]) -> Callable[[Model], Damaged | None]:
    DAMAGES.append(function)
    return function


def changed(model: Model, place: int, **values: Any) -> list[Operation]:
    operations = list(model.operations)
    operations[place] = replace(operations[place], **values)
    return operations


def later(model: Model, operation: Operation, **values: Any) -> list[Operation]:
    """Return the operations, and another one after all of them."""
    end = max(each.ended for each in model.operations)
    return [*model.operations, replace(operation, began=end + 1, ended=end + 2, **values)]


@damage
def region_forgets_its_newest_version(model: Model) -> Damaged | None:
    reads = [model.operations[place] for place in model.done("read", region=EAST)]
    if not reads or len({each.version for each in reads}) < 2:
        return None
    oldest = min(reads, key=lambda each: each.version or "")
    return model.check(later(model, replace(oldest, named=None))), "stale read"


@damage
def record_vanishes(model: Model) -> Damaged | None:
    reads = [model.operations[place] for place in model.done("read", region=WEST)]
    if not reads:
        return None
    gone = replace(reads[0], status=404, version=None, values=(), named=None)
    return model.check(later(model, gone)), "stale read"


@damage
def version_is_read_before_it_is_written(model: Model) -> Damaged | None:
    for place in model.done("read"):
        read = model.operations[place]
        writes = [each for each in model.operations if each.kind == "append" and each.version == read.version]
        if writes:
            began = min(each.began for each in writes) - 100
            return model.check(changed(model, place, began=began, ended=began + 1)), "read from the future"
    return None


@damage
def record_vanishes_as_if_deleted(model: Model) -> Damaged | None:
    reads = [model.operations[place] for place in model.done("read", region=WEST)]
    if not reads:
        return None
    gone = replace(reads[0], status=410, version=None, values=(), named=None)
    return model.check(later(model, gone)), "stale read"


@damage
def write_replaces_a_version_that_its_region_replaced_before(model: Model) -> Damaged | None:
    """The east region replaces a version of the west one, after it had replaced a newer one of its own."""
    tip = Lineage(model.follows, model.lists).tips[0]
    end = max(each.ended for each in model.operations)
    west, first = model.regions[1].next(20_000, after=tip), model.regions[0].next(30_000, after=tip)
    second = model.regions[0].next(40_000, after=first)
    writes = [
        Operation(
            client=8, region=region, record=RECORD, kind="append", began=end + 2 * place, ended=end + 2 * place + 1,
            named=named, value=f"stale {place}", status=200, version=version,
            values=(*model.lists[tip], *values),
        )
        for place, (region, named, version, values) in enumerate(
            [
                (WEST, tip, west, ["stale 0"]),
                (EAST, tip, first, ["stale 1"]),
                (EAST, west, second, ["stale 0", "stale 2"]),
            ],
        )
    ]  # fmt: skip
    return model.check([*model.operations, *writes]), "stale write"


@damage
def condition_is_not_checked(model: Model) -> Damaged | None:
    wrong = Model(model.seed, conditional=False)
    writes = [wrong.operations[place] for place in wrong.done("append", region=EAST)]
    if len({each.named for each in writes}) == len(writes):
        return None
    return wrong.check(), "lost update"


@damage
def acknowledgement_precedes_the_version_before(model: Model) -> Damaged | None:
    writes = sorted(model.done("append", region=EAST), key=lambda place: model.operations[place].version or "")
    if len(writes) < 2:
        return None
    first = model.operations[writes[0]]
    operations = changed(model, writes[1], began=first.began - 90, ended=first.began - 80)
    return model.check(operations), "reordered write"


@damage
def write_is_refused_without_a_reason(model: Model) -> Damaged | None:
    appends = model.done("append")
    if not appends:
        return None
    end = max(each.ended for each in model.operations)
    newest = Lineage(model.follows, model.lists).tips[0]
    read = Operation(
        client=9, region=EAST, record=RECORD, kind="read", began=end + 1, ended=end + 2, status=200, version=newest,
        values=model.lists[newest],
    )  # fmt: skip
    refused = replace(
        model.operations[appends[0]], began=end + 3, ended=end + 4, region=EAST, named=newest, value="refused",
        status=412, version=None, values=(),
    )  # fmt: skip
    return model.check([*model.operations, read, refused]), "unfounded refusal"


@damage
def write_that_began_before_a_read_is_refused(model: Model) -> Damaged | None:
    """A version of the other region may have caused the refusal, unless a later read shows that it was not there."""
    tip = Lineage(model.follows, model.lists).tips[0]
    end = max(each.ended for each in model.operations)
    version = model.regions[1].next(20_000, after=tip)
    write = Operation(
        client=8, region=WEST, record=RECORD, kind="append", began=end + 1, ended=end + 2, named=tip, value="west",
        status=200, version=version, values=(*model.lists[tip], "west"),
    )  # fmt: skip
    model.follows[version], model.lists[version] = (tip,), write.values
    read = Operation(
        client=9, region=EAST, record=RECORD, kind="read", began=end + 3, ended=end + 4, status=200, version=tip,
        values=model.lists[tip],
    )  # fmt: skip
    refused = Operation(
        client=7, region=EAST, record=RECORD, kind="append", began=end + 5, ended=end + 6, named=tip, value="refused",
        status=412,
    )  # fmt: skip
    operations = [*model.operations, write, read, refused]
    assert model.check(operations).anomalies == (), "the version may have arrived, and not been read"
    bound = replace(read, began=end + 7, ended=end + 8)
    result = model.check([*operations, bound])
    (shown,) = (each for each in result.anomalies if each.name == "unfounded refusal")
    assert shown.operations[1:] == (refused, bound)
    return result, "unfounded refusal"


def read_of(model: Model, version: str, *, client: int, named: str) -> list[Operation]:
    """Return the operations, and a read in a third region, whose register does not know the others' versions."""
    template = Operation(
        client=client, region="elsewhere", record=RECORD, kind="read", began=0, ended=0, named=named, status=200,
        version=version, values=model.lists[version],
    )  # fmt: skip
    return later(model, template)


@damage
def client_does_not_find_its_write(model: Model) -> Damaged | None:
    for place in model.done("append"):
        write = model.operations[place]
        if write.named is not None and write.version is not None:
            operations = read_of(model, write.named, client=write.client, named=write.version)
            return model.check(operations), "client misses its own write"
    return None


@damage
def older_version_satisfies_the_minimum_version(model: Model) -> Damaged | None:
    for version, (before, *_) in ((each, follows) for each, follows in model.follows.items() if follows):
        first = read_of(model, version, client=9, named=version)
        second = replace(first[-1], began=first[-1].ended + 1, ended=first[-1].ended + 2)
        second = replace(second, version=before, values=model.lists[before])
        return model.check([*first, second]), "client goes back in time"
    return None


@damage
def merge_drops_an_append(model: Model) -> Damaged | None:
    merged = [version for version, follows in model.follows.items() if len(follows) > 1]
    if not merged:
        return None
    (merge,) = merged
    newest, *others = sorted(model.follows[merge], reverse=True)
    dropped = set(model.lists[others[0]]) - set(model.lists[newest])
    if not dropped:
        return None
    lists = model.lists | {merge: tuple(value for value in model.lists[merge] if value not in dropped)}
    lineage = Lineage(model.follows, lists)
    return model.check(east=lineage, west=lineage), "lost update"


def last_append(model: Model, value: str = "last") -> Operation:
    """Append to the merged record in the west region, when everything has ended, and return the operation."""
    tip = Lineage(model.follows, model.lists).tips[0]
    end = max(each.ended for each in model.operations)
    version = model.regions[1].next(10_000, after=tip)
    write = Operation(
        client=1, region=WEST, record=RECORD, kind="append", began=end + 1, ended=end + 2, named=tip, value=value,
        status=200, version=version, values=(*model.lists[tip], value),
    )  # fmt: skip
    model.follows[version], model.lists[version] = (tip,), write.values
    model.operations.append(write)
    return write


@damage
def region_loses_its_last_version(model: Model) -> Damaged | None:
    write = last_append(model)
    follows = {version: before for version, before in model.follows.items() if version != write.version}
    lists = {version: values for version, values in model.lists.items() if version != write.version}
    return model.check(west=Lineage(follows, lists)), "lost version"


@damage
def refused_append_is_seen(model: Model) -> Damaged | None:
    for place in model.done("append"):
        # An attempt without a response may be the one that had the effect.
        if sum(each.value == model.operations[place].value for each in model.operations) == 1:
            found = changed(model, place, status=412, version=None, values=())
            return model.check(found), "aborted read (G1a)"
    return None


@damage
def version_is_added_without_a_write(model: Model) -> Damaged | None:
    write = last_append(model)
    assert write.version is not None
    added = model.regions[1].next(20_000, after=write.version)
    lineage = Lineage(model.follows | {added: (write.version,)}, model.lists | {added: write.values})
    return model.check(east=lineage, west=lineage), "unwritten version"


@damage
def appended_value_is_missing_in_the_last_version(model: Model) -> Damaged | None:
    """Each version has the list of the one that it follows, but for the list that its write returned."""
    write = last_append(model)
    assert write.version is not None
    lineage = Lineage(model.follows, model.lists | {write.version: write.values[:-1]})
    return model.check(east=lineage, west=lineage), "lost update"


@damage
def value_that_no_client_appended_is_seen(model: Model) -> Damaged | None:
    write = last_append(model)
    assert write.version is not None
    lineage = Lineage(model.follows, model.lists | {write.version: (*write.values, "garbage")})
    return model.check(east=lineage, west=lineage), "garbage read"


@damage
def append_is_applied_twice(model: Model) -> Damaged | None:
    write = last_append(model)
    assert write.version is not None
    lineage = Lineage(model.follows, model.lists | {write.version: (*write.values, write.value or "")})
    return model.check(east=lineage, west=lineage), "duplicate append"


@damage
def list_is_reordered(model: Model) -> Damaged | None:
    write = last_append(model)
    assert write.version is not None
    if len(write.values) < 3:
        return None
    values = (*reversed(write.values[:-1]), write.values[-1])
    operations = [replace(each, values=values) if each.version == write.version else each for each in model.operations]
    lineage = Lineage(model.follows, model.lists | {write.version: values})
    return model.check(operations, east=lineage, west=lineage), "incompatible order"


@damage
def merge_reorders_an_append(model: Model) -> Damaged | None:
    """The values that clients repeated in both regions have no order that a merge could keep; all others have one."""
    end = max(each.ended for each in model.operations)
    tip = Lineage(model.follows, model.lists).tips[0]
    versions = {name: model.regions[0].next(20_000, after=tip) for name in "abcd"}
    start = model.lists[tip]
    lists = {"a": (*start, "p"), "b": (*start, "p", "q"), "c": (*start, "r"), "d": (*start, "q", "p", "r")}
    follows = {"a": (tip,), "b": (versions["a"],), "c": (tip,), "d": (versions["b"], versions["c"])}
    for place, (name, value) in enumerate([("a", "p"), ("b", "q"), ("c", "r")]):
        version = versions[name]
        model.operations.append(
            Operation(
                client=8, region=WEST if name == "c" else EAST, record=RECORD, kind="append", began=end + 2 * place,
                ended=end + 2 * place + 1, named=follows[name][0], value=value, status=200, version=version,
                values=lists[name],
            )
        )  # fmt: skip
    for name, version in versions.items():
        model.follows[version], model.lists[version] = follows[name], lists[name]
    return model.check(), "incompatible order"


@damage
def version_changes(model: Model) -> Damaged | None:
    for place in model.done("read"):
        values = model.operations[place].values
        if len(values) > 1:
            return model.check(changed(model, place, values=values[:-1])), "changed version"
    return None


def test_every_documented_anomaly_is_put_into_a_history() -> None:
    text = (ROOT / "docs" / "drills.md").read_text(encoding="utf-8")
    table = text.split("| anomaly | check | meaning |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    documented = {
        (name.strip(), check.strip()) for _, name, check, *_ in (row.split("|") for row in table.splitlines())
    }
    found = set()
    for put in DAMAGES:
        result, name = next(filter(None, (put(Model(seed)) for seed in range(100))))
        found |= {(name, f"{each.check}s") for each in result.anomalies if each.name == name}
    assert found == documented


@pytest.mark.parametrize("put", DAMAGES, ids=lambda function: function.__name__)
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_anomaly_is_found_and_explained_by_few_operations(put: Callable[[Model], Damaged | None], seed: int) -> None:
    damaged = put(Model(seed))
    assume(damaged is not None)
    assert damaged is not None
    result, name = damaged
    named = [each for each in result.anomalies if each.name == name]
    assert named, [each.name for each in result.anomalies]
    assert sum(result.found.values()) >= len(result.anomalies)
    for each in named:
        # The third one is the write of a version that did not exist before.
        assert len(each.operations) <= 3
        assert each.record == RECORD
        assert all(operation.ended < inf for operation in each.operations), "JSON has no infinity"
        assert "\n" not in each.explanation


@pytest.mark.parametrize(
    ("east", "west", "merged"),
    [
        (["x", "y"], ["z", "x"], ["x", "y", "z"]),
        (["x", "y"], ["y", "x"], ["x", "y"]),
    ],
)
def test_values_that_clients_repeated_in_the_other_region_have_no_order(
    east: list[str], west: list[str], merged: list[str]
) -> None:
    first = stamp(1)
    follows: dict[str, Sequence[str]] = {first: ()}
    lists: dict[str, Sequence[str]] = {first: ()}
    operations = [
        Operation(client=0, region=EAST, record=RECORD, kind="create", began=0, ended=1, status=201, version=first)
    ]
    for region, values in ((EAST, east), (WEST, west)):
        named = first
        for place, value in enumerate(values, 1):
            version = stamp(10 * place + (region == WEST), region)
            done = Operation(
                client=1, region=region, record=RECORD, kind="append", began=10 * place, ended=10 * place + 5,
                named=named, value=value, status=200, version=version, values=tuple(values[:place]),
            )  # fmt: skip
            lost = region == EAST and value in west
            operations.append(replace(done, status=None, version=None, values=()) if lost else done)
            follows[version], lists[version], named = (named,), values[:place], version
    tips = Lineage(follows, lists).tips
    follows[stamp(99)], lists[stamp(99)] = tips, merged
    lineage = Lineage(follows, lists)
    assert check_history(operations, {region: {RECORD: lineage} for region in (EAST, WEST)}).anomalies == ()


# An exhaustive search over all orders, as an oracle of the register.

Event = tuple[str, int, str, str]


def linearizable(operations: Sequence[Operation], arrivals: Mapping[str, float]) -> bool:
    """Return whether the operations of a region can have taken effect one after another, each within its interval.

    `arrivals` are the versions of the other region, with the time before which they cannot arrive.
    """
    due = list(operations)

    @cache
    def possible(left: frozenset[int], here: frozenset[str], head: str) -> bool:
        if not left:
            return True
        newest = max(here, default="")
        horizon = min(due[index].ended for index in left)
        for index in left:
            each = due[index]
            if each.began > horizon:
                continue
            rest = left - {index}
            named = each.named or ""
            allowed = head == named or (newest == named and head < named)
            if each.kind == "read":
                if newest == (each.version or "") and possible(rest, here, head):
                    return True
            elif each.version is None:
                if not allowed and possible(rest, here, head):
                    return True
            elif allowed and possible(rest, here | {each.version}, each.version):
                return True
        if any(possible(left, here, version) for version in here if version > head):
            return True
        # A version may arrive unless an operation that ended before it was written is still due.
        return any(
            possible(left, here | {version}, head)
            for version, began in arrivals.items()
            if version not in here and began <= horizon
        )

    return possible(frozenset(range(len(due))), frozenset(), "")


@dataclass(frozen=True)
class SmallHistory:
    """Operations of the east region, and the versions of the other region, all with arbitrary times.

    A write without a response had an effect if it is in `effects`, with the version that it created.
    """

    operations: list[Operation]
    arrivals: dict[str, float]
    effects: dict[str, str]
    """By value."""

    def certain(self) -> list[Operation]:
        """Return what happened, as an observer of the platform knows: a write without a response has no end."""
        return [
            replace(each, ended=inf, version=self.effects[each.value]) if each.value in self.effects else each
            for each in self.operations
            if not each.indeterminate or each.value in self.effects
        ]

    def lineage(self) -> Lineage:
        follows: dict[str, Sequence[str]] = dict.fromkeys(self.arrivals, ())
        lists: dict[str, Sequence[str]] = {version: (version,) for version in self.arrivals}
        for each in sorted(self.certain(), key=lambda each: each.version or ""):
            if each.kind == "append" and each.version is not None:
                follows[each.version] = (each.named,) if each.named else ()
                lists[each.version] = (*lists.get(each.named or "", ()), each.value or "")
        return Lineage(follows, lists)

    def anomalies(self) -> list[Anomaly]:
        """Check the operations of the east region, together with the writes of the west region."""
        west = [
            Operation(
                client=2, region=WEST, record=RECORD, kind="append", began=began, ended=inf, named="", value=version,
                status=200, version=version,
            )
            for version, began in self.arrivals.items()
        ]  # fmt: skip
        found = check_history([*self.operations, *west], {region: {RECORD: self.lineage()} for region in (EAST, WEST)})
        return [each for each in found.anomalies if each.check == "register" and each.region == EAST]


@st.composite
def small_histories(draw: st.DrawFn, *, refusals: bool) -> SmallHistory:
    versions = [stamp(number) for number in range(1, 4)]
    remote = {
        stamp(number, WEST): float(draw(st.integers(0, 8))) for number in draw(st.sets(st.integers(1, 4), max_size=2))
    }
    operations: list[Operation] = []
    effects: dict[str, str] = {}

    def add(kind: Literal["read", "append"], **fields: Any) -> None:
        # Refusals come late, when the region may have nothing but the version that they name.
        began, length = draw(st.integers(4 if fields.get("status") == 412 else 0, 8)), draw(st.integers(1, 6))
        operations.append(
            Operation(
                client=0, region=EAST, record=RECORD, kind=kind, began=began, ended=began + length + 0.5, **fields
            )
        )

    written = sorted(draw(st.lists(st.sampled_from(versions), unique=True, max_size=3)))
    known = ["", *sorted([*written, *remote])]
    for version in written:
        named = draw(st.sampled_from([each for each in known if each < version]))
        # Only a list shows that a write without a response had an effect, and that of a creation is empty.
        if named and draw(st.booleans()):
            effects[version] = version
            add("append", named=named, value=version)
        else:
            add("append", named=named, value=version, status=200, version=version)
    for number in range(draw(st.integers(0, 1))):
        add("append", named=draw(st.sampled_from(known)), value=f"lost {number}")
    for number in range(draw(st.integers(1, 2)) if refusals else 0):
        add("append", named=draw(st.sampled_from(known)), value=f"refused {number}", status=412)
    for _ in range(draw(st.integers(0, 3))):
        version = draw(st.sampled_from(known))
        add("read", status=200 if version else draw(st.sampled_from([404, 410])), version=version or None)
    return SmallHistory(operations, remote, effects)


@given(small_histories(refusals=False))
@settings(max_examples=400, deadline=None)
def test_register_check_agrees_with_an_exhaustive_search(history: SmallHistory) -> None:
    assert bool(history.anomalies()) is not linearizable(history.certain(), history.arrivals)


@given(small_histories(refusals=True))
@settings(max_examples=400, deadline=None)
def test_refusal_that_an_exhaustive_search_explains_is_no_anomaly(history: SmallHistory) -> None:
    if linearizable(history.certain(), history.arrivals):
        assert history.anomalies() == []


def test_version_is_not_read_before_the_one_that_it_follows_was_written() -> None:
    west, version = stamp(1, WEST), stamp(3)
    began = {EAST: 0.0, WEST: 2.0}
    writes = [
        Operation(
            client=0, region=region, record=RECORD, kind="append", began=began[region], ended=4.0, named=named,
            value=written, status=200, version=written,
        )
        for region, named, written in ((WEST, "", west), (EAST, west, version))
    ]  # fmt: skip
    read = Operation(
        client=1, region=EAST, record=RECORD, kind="read", began=0.5, ended=1.5, status=200, version=version
    )
    (found,) = check_history([*writes, read], {}).anomalies
    assert (found.name, found.operations) == ("read from the future", (read, writes[0]))


def test_anomalies_of_one_name_are_counted_and_the_first_are_shown() -> None:
    first = Operation(
        client=0, region=EAST, record=RECORD, kind="read", began=0, ended=1, status=200, version=stamp(100)
    )
    stale = [replace(first, began=2.0 + n, ended=2.5 + n, version=stamp(n + 1)) for n in range(MOST_SHOWN + 4)]
    found = check_history([first, *reversed(stale)], {})
    assert found.found["register"] >= MOST_SHOWN + 4
    shown = [each for each in found.anomalies if each.name == "stale read"]
    assert [each.operations[-1].ended for each in shown] == [2.5 + n for n in range(MOST_SHOWN)]


def test_anomalies_of_one_name_in_two_checks_are_both_shown() -> None:
    model = Model(1, steps=0)
    writes = [last_append(model, f"last {n}") for n in range(MOST_SHOWN + 1)]
    forks = [
        replace(write, version=stamp(30_000 + n, WEST), value=f"fork {n}", values=(), ended=write.began)
        for n, write in enumerate(writes)
    ]
    last = writes[-1].version or ""
    lineage = Lineage(model.follows, model.lists | {last: ()})
    found = model.check([*model.operations, *forks], east=lineage, west=lineage)
    shown = [each.check for each in found.anomalies if each.name == "lost update"]
    assert shown.count("register") == MOST_SHOWN
    assert "append" in shown


def test_lost_append_is_shown_with_the_write_of_the_last_version() -> None:
    model = Model(1, steps=0)
    append, last = last_append(model, "1"), last_append(model, "2")
    assert append.version is not None
    assert last.version is not None
    lineage = Lineage(model.follows, model.lists | {last.version: ("2",), append.version: ()})
    (lost,) = (each for each in model.check(east=lineage, west=lineage).anomalies if each.name == "lost update")
    assert lost.operations == (append, last)


def test_operations_without_a_result_to_compare_are_not_counted_as_checked() -> None:
    read = Operation(client=0, region=EAST, record=RECORD, kind="read", began=0, ended=1, status=503)
    assert check_history([read, replace(read, kind="append", value="1", named=stamp(1))], {}).records == 0
    assert check_history([replace(read, status=400)], {}).records == 0
    for status in (404, 410):
        assert check_history([replace(read, status=status)], {}).records == 1
    assert check_history([replace(read, kind="append", status=412, value="1", named=stamp(1))], {}).records == 1
    assert check_history([replace(read, status=200, version=stamp(1))], {}).records == 1


def many(records: int, steps: int) -> Iterator[tuple[str, Model]]:
    return ((f"p{number}", Model(number, steps=steps)) for number in range(records))


def test_history_of_ten_thousand_operations_is_checked_within_seconds() -> None:
    operations: list[Operation] = []
    lineages: dict[str, dict[str, Lineage | None]] = {EAST: {}, WEST: {}}
    for record, model in many(records=20, steps=1000):
        operations += [replace(each, record=record) for each in model.operations]
        for region in lineages:
            lineages[region][record] = model.lineages[region][RECORD]
    assert len(operations) >= 10_000
    began = time.process_time()
    found = check_history(operations, lineages)
    assert time.process_time() - began < 10, "thousands of operations are checked within seconds"
    assert (found.anomalies, found.records) == ((), 20)
