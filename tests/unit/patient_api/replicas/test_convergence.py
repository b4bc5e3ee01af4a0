"""In any order of replication no acknowledged version is lost, both regions converge, and reads never go back in time.

Two regions accept writes through the code of the API. Meanwhile, replication is late, in any order and repeated, calls
to DynamoDB overlap with it and fail, stream records are delivered twice, and all clocks are wrong.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from patient_api.clock import Stamp
from patient_api.contract.keys import PATIENT
from patient_api.errors import ApiError, Contention, Gone, HeadMismatch, NotFound, NotYetHere, StorageFault
from patient_api.http.preconditions import weak
from patient_api.store.model import RecordKey, Version
from patient_api.store.reconciliation import ORIGIN
from support.examples import examples
from unit.patient_api.fakes.regions import (
    TENANT,
    THROTTLED,
    Container,
    Region,
    TwoRegions,
    check_consistency,
    lineage_of,
    request,
)

REGIONS, CONTAINERS, PICKS = st.integers(0, 1), st.integers(0, 1), st.integers(0, 30)
OLDER = st.sampled_from([0, 0, 0, 0, 1, 2, 5])
# The seed of what replicates before the DynamoDB requests of a call; 0 for nothing.
SEEDS = st.sampled_from([0, 0, *range(1, 100)])
ARRIVING = 0.4
SKEWS = st.lists(st.sampled_from([-20_000, -40, -1, 0, 1, 40, 20_000]), min_size=6, max_size=6)
RENAME = [{"op": "replace", "path": "/name/0/given", "value": ["Patched"]}]


class Replicas(RuleBasedStateMachine):
    """Actions of clients, replication and streams, and the invariants that hold after each of them."""

    @initialize(skews=SKEWS, page=st.sampled_from([1, 2, 100]))
    def start(self, skews: list[int], page: int) -> None:
        self.regions = TwoRegions(skews=skews, page=page)
        self.acknowledged: dict[tuple[str, str], tuple[int, str | None]] = {}
        self.known: dict[str, list[Stamp]] = {}
        self.once: dict[str, str] = {}
        self.present: list[dict[tuple[str, str], Any]] = [{}, {}]
        self.read_last: dict[tuple[int, str], Stamp] = {}
        self.head_last: dict[tuple[int, str], Stamp] = {}
        self.written = 0
        self.create(0, 0)
        self.regions.settle()

    @rule(ms=st.sampled_from([1, 1, 7, 300, 30_000]))
    def time_passes(self, ms: int) -> None:
        self.regions.now_ms += ms

    @precondition(lambda self: len(self.known) < 2)
    @rule(where=REGIONS, container=CONTAINERS)
    def create(self, where: int, container: int) -> None:
        created = self._at(where, container).creation.create(request(self._body()))
        self._acknowledge(where, created.version)

    @rule(where=REGIONS, container=CONTAINERS, key=st.sampled_from("ab"), seed=SEEDS)
    def create_once(self, where: int, container: int, key: str, seed: int) -> None:
        was_here = key in self.once and bool(lineage_of(self._region(where).replica, self._pk(self.once[key])))
        with self._with_disturbances(where, seed), suppress(ApiError):
            version = self._created_once(where, container, key)
            assert self.once.setdefault(key, version.key.id) == version.key.id, "the key created a second record"
            assert not was_here or (version.key.id, str(version.stamp)) in self.acknowledged, (
                "the key created a second version"
            )
            self._acknowledge(where, version)

    @rule(where=REGIONS, container=CONTAINERS, which=PICKS, older=OLDER, seed=SEEDS)
    def update(self, where: int, container: int, which: int, older: int, seed: int) -> None:
        name, match = self._match(which, older)
        patients = self._at(where, container).patients
        body = request(self._body() | {"id": name}, if_match=match)
        self._write(where, seed, lambda: patients.update(body, name))

    @rule(where=REGIONS, container=CONTAINERS, which=PICKS, older=OLDER, seed=SEEDS)
    def patch(self, where: int, container: int, which: int, older: int, seed: int) -> None:
        name, match = self._match(which, older)
        patients = self._at(where, container).patients
        self._write(where, seed, lambda: patients.patch(request(RENAME, if_match=match), name))

    @rule(where=REGIONS, container=CONTAINERS, which=PICKS, seed=SEEDS)
    def delete(self, where: int, container: int, which: int, seed: int) -> None:
        name, _ = self._match(which, 0)
        patients = self._at(where, container).patients
        self._write(where, seed, lambda: patients.delete(request(), name))

    @rule(where=REGIONS, container=CONTAINERS, which=PICKS, other=PICKS, seed=SEEDS)
    def merge(self, where: int, container: int, which: int, other: int, seed: int) -> None:
        name, _ = self._match(which, 0)
        lineage = lineage_of(self._region(where).replica, self._pk(name))
        if len(lineage) < 2:
            return
        newest = max(lineage)
        followed = {stamp for follows in lineage.values() for stamp in follows}
        loose = sorted(lineage.keys() - followed - {newest}) or sorted(followed - {ORIGIN})
        known, merged = Stamp.parse(newest), Stamp.parse(loose[other % len(loose)])
        assert known is not None
        assert merged is not None
        at, key = self._at(where, container), RecordKey(TENANT, PATIENT, name)
        with suppress(HeadMismatch, Contention):
            self._write(where, seed, lambda: at.merge(key, self._body(), known=known, merged=[merged]))

    @rule(where=REGIONS, container=CONTAINERS, which=PICKS, least=st.booleans(), seed=SEEDS)
    def read(self, where: int, container: int, which: int, least: bool, seed: int) -> None:
        name, match = self._match(which, 0)
        read_request = request(minimum_version=match) if least else request()
        with self._with_disturbances(where, seed):
            try:
                stamp = self._at(where, container).patients.read(read_request, name).stamp
            except Gone as gone:
                found = Stamp.parse(gone.headers["ETag"].removeprefix('W/"').removesuffix('"'))
                assert found is not None
                stamp = found
            except NotFound:
                assert (where, name) not in self.read_last, "a record that was read is not found"
                assert not least
                return
            except NotYetHere:
                assert least
                return
        if least:
            lineage = lineage_of(self._region(where).replica, self._pk(name))
            named = {weak(version) for version in {*lineage, *set().union(*lineage.values())}}
            assert match in named, "the region has neither the version nor one that follows it"
            assert weak(str(stamp)) >= match
        self._saw(where, name, stamp)
        self._learn(name, stamp)

    @rule(to=REGIONS, picks=st.lists(PICKS, min_size=1, max_size=12), again=st.booleans())
    def arrive(self, to: int, picks: list[int], again: bool) -> None:
        for pick in picks:
            self.regions.deliver(self._region(to), pick, again=again)

    @rule(
        where=REGIONS,
        picks=st.lists(PICKS, max_size=3),
        again=st.booleans(),
        seed=SEEDS,
        fault=st.none() | st.integers(0, 8),
    )
    def reconcile(self, where: int, picks: list[int], again: bool, seed: int, fault: int | None) -> None:
        with self._with_disturbances(where, seed, fault):
            self._region(where).reconcile(picks, again=again)

    @invariant()
    def no_version_disappears_or_changes(self) -> None:
        for place, region in enumerate(self.regions.all):
            versions = {key: item for key, item in region.replica.records.items() if key[1].startswith(("v#", "l#"))}
            for key, item in self.present[place].items():
                assert versions.get(key) == item
            self.present[place] = versions

    @invariant()
    def no_read_goes_back_in_time(self) -> None:
        for where, region in enumerate(self.regions.all):
            for name in self.known:
                found = region.containers[0].records.newest(RecordKey(TENANT, PATIENT, name))
                if found is not None:
                    self._saw(where, name, found.stamp)
                assert found is not None or (where, name) not in self.read_last, "a record that was read is not found"

    @invariant()
    def no_head_goes_back_in_time(self) -> None:
        for where, region in enumerate(self.regions.all):
            for name, known in self.known.items():
                head = region.head(RecordKey(TENANT, PATIENT, name))
                own = [stamp for stamp in known if stamp.region == region.name]
                last = max([*own, *filter(None, [self.head_last.get((where, name))])], default=None)
                assert last is None or (head is not None and head.stamp >= last), "a head went back in time"
                if head is not None:
                    self.head_last[where, name] = head.stamp

    @invariant()
    def acknowledged_versions_are_in_their_region(self) -> None:
        for (name, stamp), (where, resource) in self.acknowledged.items():
            self._check_present(self._region(where), name, stamp, resource)

    def teardown(self) -> None:
        self.regions.settle()
        for (name, stamp), (_, resource) in self.acknowledged.items():
            for region in self.regions.all:
                self._check_present(region, name, stamp, resource)
        check_consistency(self.regions)
        for key, name in self.once.items():
            repeated = [self._created_once(where, container, key) for where in (0, 1) for container in (0, 1)]
            assert len(set(repeated)) == 1, "repeated creates return different versions"
            assert repeated[0].key.id == name
            assert (name, str(repeated[0].stamp)) in self.acknowledged

    def _write(self, where: int, seed: int, write: Callable[[], Version]) -> None:
        with self._with_disturbances(where, seed), suppress(ApiError):
            try:
                self._replaced(where, write())
            except StorageFault as fault:
                # Two containers issued the same stamp in one millisecond. The second write fails and can be repeated.
                if fault.code != "ConditionalCheckFailed":
                    raise

    @contextmanager
    def _with_disturbances(self, where: int, seed: int, fault: int | None = None) -> Iterator[None]:
        """Replicate writes before some calls to a region's DynamoDB, and let one of the calls fail."""
        region, calls, die = self._region(where), count(), Random(seed)  # noqa: S311 - dice

        def before(_operation: str, _request: object) -> None:
            if seed and die.random() < ARRIVING:
                self.regions.deliver(region, die.randrange(100))
            if next(calls) == fault:
                raise THROTTLED

        region.replica.before = before
        try:
            yield
        finally:
            region.replica.before = lambda _operation, _request: None

    def _created_once(self, where: int, container: int, key: str) -> Version:
        body = {"resourceType": PATIENT, "name": [{"family": f"Once-{key}"}]}
        return self._at(where, container).creation.create(request(body, idempotency_key=key)).version

    def _replaced(self, where: int, version: Version) -> None:
        region, name = self._region(where).name, version.key.id
        if version.stamp.region == region and (name, str(version.stamp)) not in self.acknowledged:
            own = [stamp for stamp in self.known[name] if stamp.region == region]
            assert version.replaces is not None
            assert version.replaces >= max(own, default=version.replaces), "a stale If-Match was accepted"
        self._acknowledge(where, version)

    def _acknowledge(self, where: int, version: Version) -> None:
        self.acknowledged.setdefault((version.key.id, str(version.stamp)), (where, version.resource))
        self._learn(version.key.id, version.stamp)

    def _saw(self, where: int, name: str, stamp: Stamp) -> None:
        assert stamp >= self.read_last.get((where, name), stamp), "a read went back in time"
        self.read_last[where, name] = stamp

    def _learn(self, name: str, stamp: Stamp) -> None:
        known = self.known.setdefault(name, [])
        if stamp not in known:
            known.append(stamp)

    def _match(self, which: int, older: int) -> tuple[str, str]:
        """Return a record and an ETag that a client has received, the last or an older one."""
        name = list(self.known)[which % len(self.known)]
        known = self.known[name]
        return name, weak(str(known[max(-1 - older, -len(known))]))

    def _body(self) -> dict[str, Any]:
        # Several writes have the same content, as those of a request that is repeated in the other region.
        self.written += 1
        return {"resourceType": PATIENT, "name": [{"family": f"Example-{self.written // 3}", "given": ["Written"]}]}

    def _region(self, where: int) -> Region:
        return self.regions.all[where]

    def _at(self, where: int, container: int) -> Container:
        return self._region(where).containers[container]

    def _pk(self, name: str) -> str:
        return f"{TENANT}#{PATIENT}#{name}"

    def _check_present(self, region: Region, name: str, stamp: str, resource: str | None) -> None:
        item = region.replica.records.get((self._pk(name), f"v#{stamp}"))
        assert item is not None, "an acknowledged version is missing"
        assert item.get("resource", {}).get("S") == resource


# Derandomized, so that a failure is due to a change and reproducible. To search for more, set `derandomize=False` and
# increase the number of examples.
TestReplicas = pytest.mark.trap(1, 2, 3)(Replicas.TestCase)
TestReplicas.settings = settings(
    max_examples=examples(40, 150),
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
