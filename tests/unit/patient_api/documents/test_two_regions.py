"""Documents while items and objects replicate late, in any order, and events are lost.

Once a document is final in a region it stays final there. It is final in both regions once everything has arrived, and
can be read byte for byte in each region without the other one. No document needs a person.
"""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from patient_api.contract.keys import CONFLICT_PREFIX
from patient_api.documents.reference import object_key
from patient_api.documents.upload import UPLOAD_SECONDS
from patient_api.documents.worker import UnfinishedEventError
from patient_api.errors import ApiError, StorageFault, Unprocessable
from patient_api.store.model import RecordKey
from support.examples import examples
from unit.patient_api.fakes.aws import RECORDS
from unit.patient_api.fakes.documents import CONTENT, EAST, WEST, Api, LaggingWorld, announcement, other
from unit.patient_api.fakes.s3 import Stored

REGIONS = (EAST, WEST)
NAMES = st.sampled_from(["a1", "a1", "a1", "a2", "b1"])
"""Documents. The first letter is the Idempotency-Key, so that two of them share one."""


def conflicts(world: LaggingWorld) -> list[dict[str, Any]]:
    return [
        item
        for region in REGIONS
        for item in world.tables[region].items(RECORDS)
        if item["sk"].startswith(CONFLICT_PREFIX)
    ]


def downloaded(world: LaggingWorld, key: RecordKey, region: str) -> bytes | None:
    """Return the bytes at the download address that a region returns, None without an address."""
    url = Api(world, region).read(key)["content"][0]["attachment"].get("url")
    if url is None:
        return None
    fields = dict(field.split("=", 1) for field in url.split("?")[1].split("&")[0].split(","))
    stored = world.s3[fields["Bucket"].removeprefix("documents-")].objects[fields["Key"]]
    (content,) = [version.content for version in stored if version.version == fields["VersionId"]]
    return content


@pytest.mark.trap(1)
@pytest.mark.parametrize("announced_after", [False, True])
def test_final_document_stays_final_when_an_announcement_arrives_late(announced_after: bool) -> None:
    """The same creation reached both regions; DynamoDB replicates late, S3 does not."""
    world = LaggingWorld()
    key, _ = Api(world, EAST).create(announcement(CONTENT), idempotency_key="key-1")
    if not announced_after:
        Api(world, WEST).create(announcement(CONTENT), idempotency_key="key-1")
    world.place(key)
    world.report(key, region=EAST)
    assert world.status(key, EAST) == "final"
    if announced_after:
        world.time.sleep(1)
        Api(world, WEST).create(announcement(CONTENT), idempotency_key="key-1")
    assert world.status(key, WEST) == "preliminary"
    world.settle()
    for region in REGIONS:
        assert Api(world, region).read(key)["docStatus"] == "final"
        head = world.tables[region].items(RECORDS, sk=f"head#{region}", pk=key.partition)
        assert '"docStatus":"final"' in head[0]["resource"]
        _, again = Api(world, region).create(announcement(CONTENT), idempotency_key="key-1")
        assert again["docStatus"] == "final"
    world.settle()
    assert conflicts(world) == []
    world.time.sleep(60)
    for region in REGIONS:
        world.sweep(region)
        assert world.status(key, region) == "final"
        assert world.listed(region) == {}


@pytest.mark.requirement("C3")
@pytest.mark.parametrize("event", [True, False])
def test_surviving_region_verifies_and_serves_what_was_final_in_the_lost_one(event: bool) -> None:
    """The final version of a document in parts has not replicated when its region is lost."""
    world = LaggingWorld()
    key, _ = Api(world, EAST).create(announcement(CONTENT))
    world.settle()
    world.place(key, checksum=None)
    world.report(key, region=EAST)
    assert Api(world, EAST).read(key)["docStatus"] == "final"
    world.s3[EAST].down = True
    world.s3[WEST].calls.clear()

    if event:
        world.report(key, region=WEST)
    else:
        # Without an event, the read itself finds the bytes, and the next sweep verifies them.
        assert downloaded(world, key, WEST) is None
        world.time.sleep(60)
        world.sweep(WEST)
    assert downloaded(world, key, WEST) == CONTENT
    assert world.s3[WEST].calls.count("get_object") == 1

    world.s3[EAST].down = False
    world.settle()
    assert [world.status(key, region) for region in REGIONS] == ["final", "final"]


def test_region_serves_verified_bytes_while_the_document_is_preliminary() -> None:
    world = LaggingWorld()
    key, _ = Api(world, EAST).create(announcement(CONTENT))
    world.s3[EAST].place(object_key(key), CONTENT, checksum=None)
    world.s3[WEST].down = True
    world.report(key)
    assert Api(world, EAST).read(key)["docStatus"] == "preliminary"
    assert downloaded(world, key, EAST) == CONTENT


def test_concurrent_results_of_both_regions_resolve_themselves() -> None:
    """One region has abandoned a document that the other one has finalized."""
    world = LaggingWorld()
    key, _ = Api(world, EAST).create(announcement(CONTENT), idempotency_key="key-1")
    Api(world, WEST).create(announcement(CONTENT), idempotency_key="key-1")
    world.time.sleep(24 * 3600)
    world.sweep(WEST)
    assert world.status(key, WEST) == "entered-in-error"
    world.place(key)
    world.report(key, region=EAST)
    world.time.sleep(1)
    world.settle()
    assert [world.status(key, region) for region in REGIONS] == ["final", "final"]
    assert conflicts(world) == []


@pytest.mark.parametrize("checksum", ["", None])
def test_other_requests_with_one_key_in_both_regions_create_two_documents(checksum: str | None) -> None:
    """Each client finds its own bytes, although DynamoDB and S3 replicate late."""
    world = LaggingWorld()
    contents = {EAST: b"a" * 100, WEST: b"b" * 100}
    keys = {}
    for region, content in contents.items():
        keys[region], _ = Api(world, region).create(announcement(content), idempotency_key="key-1")
        world.s3[region].place(object_key(keys[region]), content, checksum=checksum)
    assert keys[EAST] != keys[WEST]
    for region in REGIONS:
        world.report(keys[region], region=region)
        assert world.status(keys[region], region) == "final"
    world.settle()
    for region, content in contents.items():
        assert downloaded(world, keys[region], other(region)) == content
        again, _ = Api(world, region).create(announcement(content), idempotency_key="key-1")
        assert again == keys[region], "also for the request whose use of the key was not the last one"
        with pytest.raises(Unprocessable, match="used with another request"):
            Api(world, region).create(announcement(b"another letter"), idempotency_key="key-1")


class TwoRegions(RuleBasedStateMachine):
    """Actions of clients, of both replications, of events, sweeps and faults."""

    @initialize(hashed=st.booleans())
    def start(self, hashed: bool) -> None:
        self.world = LaggingWorld()
        self.checksum = "" if hashed else None
        self.keys: dict[str, RecordKey] = {}
        self.offered: dict[tuple[str, str], float] = {}
        self.events: dict[str, list[RecordKey]] = {EAST: [], WEST: []}
        self.final: set[tuple[str, str]] = set()
        self.seen: dict[str, set[str]] = {EAST: set(), WEST: set()}
        self.announce(EAST, "a1")

    @rule(region=st.sampled_from(REGIONS), name=NAMES)
    def announce_and_upload(self, region: str, name: str) -> None:
        self.announce(region, name)
        self.upload(region, name, wrong=False)

    @rule(region=st.sampled_from(REGIONS), name=NAMES)
    def announce_and_upload_other_bytes(self, region: str, name: str) -> None:
        self.announce(region, name)
        self.upload(region, name, wrong=True)

    @rule(region=st.sampled_from(REGIONS), name=NAMES)
    def announce(self, region: str, name: str) -> None:
        with suppress(ApiError, StorageFault):
            key, resource = Api(self.world, region).create(self._body(name), idempotency_key=name[0])
            assert self.keys.setdefault(name, key) == key
            assert list(self.keys.values()).count(key) == 1, "another request has created the same document"
            if "urn:healthcare-dr:upload" in str(resource):
                self.offered[region, name] = self.world.time.elapsed

    @rule(region=st.sampled_from(REGIONS), name=NAMES, wrong=st.sampled_from([False, True]))
    def upload(self, region: str, name: str, wrong: bool) -> None:
        offered = self.offered.get((region, name))
        expired = offered is None or self.world.time.elapsed > offered + UPLOAD_SECONDS
        if expired or self._objects(region, name) or self.world.s3[region].down:
            return
        content = b"x" * len(self._content(name)) if wrong else self._content(name)
        stored = self.world.s3[region].place(object_key(self.keys[name]), content, checksum=self.checksum)
        self.seen[region].add(stored.version)
        self.events[region].append(self.keys[name])
        self.read(region, name)

    @rule(to=st.sampled_from(REGIONS), name=NAMES)
    def replicate_object(self, to: str, name: str) -> None:
        if name not in self.keys:
            return
        here = self._objects(to, name)
        for stored in self._objects(other(to), name):
            if stored.version not in {found.version for found in here}:
                replica = Stored(stored.version, stored.content, stored.checksum, stored.modified)
                here.append(replica)
                here.sort(key=lambda found: (found.modified, found.version))
                self.world.s3[to].objects[object_key(self.keys[name])] = here
                self.events[to].append(self.keys[name])

    @rule(region=st.sampled_from(REGIONS), lost=st.sampled_from([False, False, True]))
    def event(self, region: str, lost: bool) -> None:
        self._note_copies()
        region = region if self.events[region] else other(region)
        if self.events[region]:
            key = self.events[region].pop(0)
            if not lost and not self.world.s3[region].down:
                with suppress(UnfinishedEventError):
                    self.world.report(key, region=region)
        self._note_copies()

    @rule(to=st.sampled_from(REGIONS), picks=st.lists(st.integers(0, 20), min_size=1, max_size=6))
    def deliver(self, to: str, picks: list[int]) -> None:
        for pick in picks:
            self.world.deliver(to, pick)

    @rule(region=st.sampled_from(REGIONS))
    def reconcile(self, region: str) -> None:
        self.world.reconcile(region)

    @rule(region=st.sampled_from(REGIONS), seconds=st.sampled_from([1, 60, 60, 60, 60, 60, 3_600, 90_000]))
    def sweep(self, region: str, seconds: int) -> None:
        self.world.time.sleep(seconds)
        self.world.sweep(region)
        self._note_copies()

    @rule(region=st.sampled_from(REGIONS), name=NAMES)
    def read(self, region: str, name: str) -> None:
        if name in self.keys:
            with suppress(ApiError, StorageFault):
                content = downloaded(self.world, self.keys[name], region)
                assert content in {None, self._content(name)}, "other bytes were served"

    @rule(region=st.sampled_from(REGIONS), down=st.sampled_from([False, False, True]))
    def storage_fails(self, region: str, down: bool) -> None:
        self.world.s3[region].down = down

    @invariant()
    def final_documents_stay_final(self) -> None:
        for region in REGIONS:
            for name, key in self.keys.items():
                final = self.world.repository(region).read(key).final
                assert final or (region, name) not in self.final, "a final document is preliminary again"
                if final:
                    self.final.add((region, name))

    @invariant()
    def documents_have_no_conflicts(self) -> None:
        assert conflicts(self.world) == []

    def teardown(self) -> None:
        world = self.world
        for region in REGIONS:
            world.s3[region].down = False
        for seconds in (60, 60, 60, 90_000, 60, 3_600, 3_600, 60):
            for region in REGIONS:
                for name in self.keys:
                    self.replicate_object(region, name)
                while self.events[region]:
                    self.event(region, lost=False)
            for region in REGIONS:
                world.sweep(region)
                world.settle()
            world.time.sleep(seconds)
        for name, key in self.keys.items():
            self._check_end(name, key)

    def _check_end(self, name: str, key: RecordKey) -> None:
        world = self.world
        contents = {stored.content for stored in self._objects(EAST, name)}
        states = [world.repository(region).read(key) for region in REGIONS]
        assert states[0].versions == states[1].versions
        assert all(state.final or state.in_error for state in states), "the document has no result"
        final = states[0].final
        # The client may have sent the declared bytes to one region, and other bytes to the other one.
        assert final or contents != {self._content(name)}, "uploaded bytes are not final"
        assert not final or self._content(name) in contents, "other bytes are final"
        for region in REGIONS:
            assert world.listed(region) == {}, "nothing is left to do"
            (head,) = world.tables[region].items(RECORDS, sk=f"head#{region}", pk=key.partition)
            assert head["resource"] == states[0].current.resource, "searches and reads agree"
            if final:
                world.s3[other(region)].down = True
                assert downloaded(world, key, region) == self._content(name)
                world.s3[other(region)].down = False

    def _note_copies(self) -> None:
        """Report objects that a function has copied: S3 sends events for them as well."""
        for region in REGIONS:
            for key in self.keys.values():
                for stored in self.world.s3[region].objects.get(object_key(key), []):
                    if stored.version.startswith(region) and stored.version not in self.seen[region]:
                        self.seen[region].add(stored.version)
                        self.events[region].append(key)

    def _objects(self, region: str, name: str) -> list[Stored]:
        key = self.keys.get(name)
        return [] if key is None else self.world.s3[region].objects.get(object_key(key), [])

    def _content(self, name: str) -> bytes:
        return CONTENT + name.encode()

    def _body(self, name: str) -> dict[str, Any]:
        return announcement(self._content(name))


# Derandomized, so that a failure is due to a change and reproducible.
TestTwoRegions = pytest.mark.trap(1, 2, 3, 15)(TwoRegions.TestCase)
TestTwoRegions.settings = settings(
    max_examples=examples(60, 400),
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
