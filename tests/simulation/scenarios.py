"""Directed runs, which reach at once what few seeds reach. Each returns what did not hold."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from unittest.mock import patch

from patient_api.clock import Measurement
from patient_api.http.named_versions import LATEST_MS
from simulation.checks import STARVING, Checks, DirectApi
from simulation.clients import SHARED, SYSTEM, Client, Known, Uploaded, Violation
from simulation.platform import EAST, REGIONS, WEST
from simulation.run import YEAR, Plan, Simulation, deterministic, limit
from simulation.scheduler import dice_of
from unit.patient_api.fakes.api import Reply, patient
from unit.patient_api.fakes.documents import announcement, offer, offered_parts


class Scenario:
    """Both regions without random steps. `do` runs a function as a client."""

    def __init__(self, name: str) -> None:
        self.simulation = Simulation(Plan(0, 1, 1, (), ()))
        self.platform = self.simulation.platform
        self.faults = self.platform.faults
        self.ledger = self.simulation.ledger
        self.client: Client = self.simulation.clients[0]
        self.dice = dice_of(name)
        self._steps = 0

    def do(self, *steps: Callable[[], object]) -> None:
        """Run functions at the same time, until all have returned."""
        tasks = [self.platform.scheduler.spawn("scenario", step) for step in steps]
        while not all(task.done.is_set for task in tasks):
            self.platform.scheduler.run(1.0)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.platform.scheduler.run(seconds)

    def call(self, method: str, path: str, region: str, body: object = None, **options: Any) -> Reply | None:
        """Send one request to a region, with the checks of all requests."""
        answered = self.client.send(method, path, body, dice=self.dice, region=region, tries=1, **options)
        return answered[0] if answered else None

    def create(self, region: str, *entries: str, key: str | None = None) -> Known:
        """Create a patient."""
        made: list[Known] = []

        def create() -> None:
            body = patient(identifier=[{"system": SYSTEM, "value": entry} for entry in entries])
            options = {} if key is None else {"idempotency_key": key}
            answered = self.client.send(
                "POST", "/fhir/Patient", body, dice=self.dice, region=region, tries=1, **options
            )
            assert answered is not None
            known = self.client.learn(answered[0], self.ledger.patients)
            self.client.wrote(known, answered, *entries)
            made.append(known)

        self.do(create)
        return made[0]

    def put(self, known: Known, region: str, etag: str, *entries: str) -> Reply:
        """Update a patient."""
        replies: list[Reply] = []

        def put() -> None:
            body = patient(id=known.key.id, identifier=[{"system": SYSTEM, "value": entry} for entry in entries])
            answered = self.client.send(
                "PUT", f"/fhir/{known.key.reference}", body, dice=self.dice, region=region, tries=1, if_match=etag
            )
            assert answered is not None
            if answered[0].status == 200:
                self.client.wrote(known, answered, *entries)
            replies.append(answered[0])

        self.do(put)
        return replies[0]

    def announce(self, about: Known, region: str, content: bytes, *, key: str) -> tuple[Known, dict[str, Any]]:
        """Announce a document, and return it with the resource of the response."""
        made: list[tuple[Known, dict[str, Any]]] = []

        def announce() -> None:
            answered = self.client.send(
                "POST", "/fhir/DocumentReference", announcement(content, patient=about.key.id),
                dice=self.dice, region=region, tries=1, idempotency_key=key,
            )  # fmt: skip
            assert answered is not None
            assert answered[0].status == 201
            known = self.client.learn(answered[0], self.ledger.documents)
            self.client.wrote(known, answered)
            made.append((known, answered[0].json))

        self.do(announce)
        return made[0]

    def upload(self, known: Known, resource: dict[str, Any], content: bytes, region: str) -> None:
        """Upload a document, in parts where the offer has parts."""

        def upload() -> None:
            parts = offered_parts(resource)
            for part in parts:
                first = (part["number"] - 1) * parts[0]["size"]
                self.platform.transfer(part["address"], content[first : first + part["size"]])
            if parts:
                self.call("POST", f"/fhir/{known.key.reference}/$complete", region)
            else:
                (address,) = [part["valueUrl"] for part in offer(resource) if part["url"] == "address"]
                self.platform.transfer(address, content)

        self.do(upload)
        self.ledger.uploads.append(Uploaded(known.key, content, multipart=bool(offered_parts(resource))))

    def status(self, known: Known, region: str) -> str:
        """Return the docStatus of a document in a region."""
        reply = DirectApi(self.platform, region)("GET", f"/fhir/{known.key.reference}", known.key.tenant)
        return str(reply.json["docStatus"]) if reply.status == 200 else str(reply.status)

    def pause(self, *regions: str) -> None:
        """Stop the replication of records from these regions."""
        self.faults.paused |= {("records", region) for region in regions}

    def violated(self, check: str, detail: str) -> None:
        self.ledger.violated(check, detail)

    def finish(self) -> list[Violation]:
        """End all faults, wait until everything is settled, and check."""
        self.platform.restore()
        self.simulation.settle()
        return Checks(self.platform, self.ledger).run()


def document_announced_in_both_regions(scenario: Scenario) -> None:
    """The same announcement reaches both regions while records lag and objects do not."""
    about = scenario.create(EAST, "e")
    scenario.wait(20)
    scenario.pause(*REGIONS)
    known, resource = scenario.announce(about, EAST, b"a letter", key="letter")
    scenario.announce(about, WEST, b"a letter", key="letter")
    scenario.upload(known, resource, b"a letter", EAST)
    scenario.wait(120)
    assert scenario.status(known, EAST) == "final"


def version_on_its_way(scenario: Scenario) -> None:
    """A client changes its own record in the other region before it has arrived there."""
    scenario.pause(EAST)
    known = scenario.create(EAST, "e")
    scenario.put(known, WEST, known.etag, "e", "f")
    match = {"if_match": known.etag}
    change = [{"op": "add", "path": "/active", "value": True}]
    path = f"/fhir/{known.key.reference}"
    scenario.do(lambda: scenario.call("DELETE", path, WEST, **match))
    scenario.do(lambda: scenario.call("PATCH", path, WEST, change, content="application/json-patch+json", **match))
    least = {"minimum_version": known.etag}
    for method in ("GET", "DELETE"):
        scenario.do(partial(scenario.call, method, path, WEST, **least))
    scenario.do(
        lambda: scenario.client.announce(announcement(b"-", patient=known.key.id), known, WEST, scenario.dice, least)
    )


def version_no_longer_on_its_way(scenario: Scenario) -> None:
    """A deletion by criteria is repeated unchanged, because its response was lost: nothing matches any more."""
    known = scenario.create(EAST, "e")
    scenario.wait(LATEST_MS / 1000 + 120)
    etag = known.etag
    statuses: list[int] = []

    def delete(region: str) -> None:
        answered = scenario.client.send(
            "DELETE", "/fhir/Patient", dice=scenario.dice, region=region, tries=1, if_match=etag,
            query=f"identifier={SYSTEM}|e",
        )  # fmt: skip
        assert answered is not None
        statuses.append(answered[0].status)

    for region in (WEST, WEST, EAST):
        scenario.do(partial(delete, region))
        scenario.wait(20)
    if statuses != [204, 404, 404]:
        scenario.violated("a request is not awaiting a version for ever", f"{statuses}")


def sibling_satisfies_minimum_version(scenario: Scenario) -> None:
    """A concurrent version of the other region with a later stamp is not what Minimum-Version names."""
    known = scenario.create(EAST, "e")
    scenario.wait(20)
    scenario.pause(*REGIONS)
    first = known.etag
    own = scenario.put(known, EAST, first, "e", "own").headers["etag"]
    scenario.wait(1)
    scenario.put(known, WEST, first, "e", "other")
    scenario.do(
        lambda: scenario.client.current(known, scenario.dice, region=WEST, minimum_version=own),
        lambda: scenario.client.current(known, scenario.dice, region=EAST, minimum_version=own),
    )


def wrong_clock(scenario: Scenario) -> None:
    """A clock is a year ahead while a record is changed and a document is uploaded; then it is right again."""
    known = scenario.create(EAST, "e")
    _, resource = letter = scenario.announce(known, EAST, b"a letter", key="letter")
    scenario.wait(20)
    scenario.faults.skews[EAST] = YEAR
    scenario.put(known, EAST, known.etag, "e", "f")
    scenario.upload(letter[0], resource, b"a letter", EAST)
    scenario.wait(30)
    scenario.faults.skews.clear()
    reply = scenario.put(known, EAST, known.etag, "e", "g")
    if reply.status != 200:
        scenario.violated("a clock that is right again writes at once", f"{reply.status}")


def version_from_the_future(scenario: Scenario) -> None:
    """A version was stamped a year ahead. Both regions change and merge its record at once."""
    known = scenario.create(EAST, "e")
    first = known.etag
    scenario.wait(20)
    scenario.pause(*REGIONS)
    scenario.faults.skews[EAST] = YEAR
    with unchecked_clocks():
        ahead = scenario.put(known, EAST, first, "e", "f").headers["etag"]
    scenario.ledger.violations.clear()
    scenario.faults.skews.clear()
    other = scenario.put(known, WEST, first, "e", "g").headers["etag"]
    scenario.platform.restore()
    scenario.wait(20)
    # The container that ran ahead is reused.
    scenario.create(EAST, "n")
    path, etag = f"/fhir/{known.key.reference}", ahead

    def change(method: str, region: str, body: object = None, *entries: str, **options: str) -> None:
        nonlocal etag
        answered = scenario.client.send(
            method, path, body, dice=scenario.dice, region=region, tries=1, if_match=etag, **options
        )
        if answered is None or answered[0].status not in (200, 204):
            scenario.violated("a version from the future is followed", f"{method} in {region}: {answered}")
            return
        etag = answered[0].headers["etag"]
        scenario.client.wrote(known, answered, *entries, deleted=method == "DELETE")

    def body(*entries: str) -> dict[str, Any]:
        return patient(id=known.key.id, identifier=[{"system": SYSTEM, "value": entry} for entry in entries])

    patched = {"path": "/active", "op": "add", "value": True}
    for region in (WEST, EAST):
        scenario.do(partial(change, "PUT", region, body("e", "f", "g"), merges=other if region == WEST else etag))
        scenario.wait(20)
        scenario.do(partial(change, "PATCH", region, [patched], content="application/json-patch+json"))
        scenario.wait(20)
        scenario.do(partial(change, "DELETE", region))
        scenario.wait(20)
        scenario.do(partial(change, "PUT", region, body("h")))
        scenario.wait(20)


@contextmanager
def unchecked_clocks() -> Iterator[None]:
    """Let containers issue versions whatever their clock says, as releases before the check of clocks did."""
    with patch.object(Measurement, "ahead", return_value=0.0):
        yield


def survivor_without_confirmation(scenario: Scenario) -> None:
    """A document in parts becomes final in a region that is lost before the record replicates."""
    about = scenario.create(EAST, "e")
    content = b"a document that is uploaded in several parts"
    known, resource = scenario.announce(about, EAST, content, key="parts")
    scenario.wait(20)
    scenario.pause(EAST)
    scenario.upload(known, resource, content, EAST)
    scenario.wait(120)
    assert scenario.status(known, EAST) == "final"
    scenario.platform.lose(EAST)
    scenario.wait(300)
    reply = DirectApi(scenario.platform, WEST)("GET", f"/fhir/{known.key.reference}", known.key.tenant)
    if "url" not in reply.json["content"][0]["attachment"]:
        scenario.violated("the surviving region can read final documents", f"{known.key.reference}")


def retry_in_the_other_region(scenario: Scenario) -> None:
    """The documented retry in the other region reaches it before replication: of a creation, an update, a deletion."""
    known = [scenario.create(EAST, entry) for entry in ("u", "d")]
    scenario.wait(20)
    scenario.pause(*REGIONS)
    scenario.create(EAST, "e", key="once")
    scenario.create(WEST, "e", key="once")
    etag = known[0].etag
    for region in REGIONS:
        scenario.put(known[0], region, etag, "u", "v")
        scenario.do(partial(scenario.call, "DELETE", f"/fhir/{known[1].key.reference}", region))


def conflict_settled_as_deleted(scenario: Scenario) -> None:
    """A client settles the conflict of a deletion and an update with a DELETE that merges."""
    known = scenario.create(EAST, "e")
    scenario.wait(20)
    scenario.pause(*REGIONS)
    updated = scenario.put(known, EAST, known.etag, "e", "f").headers["etag"]
    path = f"/fhir/{known.key.reference}"
    deleted: list[str] = []

    def delete() -> None:
        reply = scenario.call("DELETE", path, WEST)
        assert reply is not None
        deleted.append(reply.headers["etag"])

    scenario.do(delete)
    scenario.platform.restore()
    scenario.wait(30)
    newest, other = sorted([updated, deleted[0]], reverse=True)

    def merge() -> None:
        answered = scenario.client.send(
            "DELETE", path, dice=scenario.dice, region=EAST, tries=1, if_match=newest, merges=other
        )
        assert answered is not None
        assert answered[0].status == 204
        stamp = other.removeprefix('W/"').removesuffix('"')
        scenario.client.check_merge(known, answered, [stamp])

    scenario.do(merge)


def documents_that_are_never_uploaded(scenario: Scenario) -> None:
    """Announcements without uploads, and then a document whose event is lost."""
    about = scenario.create(EAST, "e")
    for number in range(STARVING + 5):
        scenario.announce(about, EAST, b"never sent", key=f"never-{number}")
    known, resource = scenario.announce(about, EAST, b"a letter", key="letter")
    scenario.faults.lost_events |= set(REGIONS)
    scenario.upload(known, resource, b"a letter", EAST)
    scenario.wait(900)
    if scenario.status(known, EAST) != "final":
        scenario.violated("every uploaded document is confirmed in time", f"{known.key.reference}")


def document_while_the_peer_is_away(scenario: Scenario) -> None:
    """A document in parts is uploaded while the other region is lost, and is read to be hashed."""
    about = scenario.create(EAST, "e")
    content = b"a document that is uploaded in several parts"
    known, resource = scenario.announce(about, EAST, content, key="parts")
    scenario.wait(20)
    scenario.platform.lose(WEST)
    scenario.upload(known, resource, content, EAST)
    scenario.wait(900)
    reads = scenario.platform.buckets[EAST].calls.count("get_object")
    if reads > 4:
        scenario.violated("a verified hash is remembered", f"the object was read {reads} times")


def conditional_creation_after_a_deletion(scenario: Scenario) -> None:
    """Two conditional creations at once, after the only match was deleted."""
    for number in range(10):
        value = f"only-{number}"
        body = patient(identifier=[{"system": f"{SYSTEM}:{SHARED}", "value": value}])

        def create(value: str = value, body: dict[str, Any] = body) -> None:
            criteria = f"identifier={SYSTEM}:{SHARED}|{value}"
            answered = scenario.client.send(
                "POST", "/fhir/Patient", body, dice=scenario.dice, region=EAST, tries=1, if_none_exist=criteria
            )
            if answered and answered[0].status == 201:
                known = scenario.client.learn(answered[0], scenario.ledger.patients)
                scenario.ledger.criteria.setdefault((known.key.tenant, value), set()).add(known.key.id)
                scenario.client.wrote(known, answered)

        scenario.do(create)
        path = f"/fhir/{scenario.ledger.patients[-1].key.reference}"
        scenario.do(partial(scenario.call, "DELETE", path, EAST))
        scenario.do(create, create)


SCENARIOS: Final[Sequence[Callable[[Scenario], None]]] = (
    document_announced_in_both_regions,
    version_on_its_way,
    version_no_longer_on_its_way,
    sibling_satisfies_minimum_version,
    wrong_clock,
    version_from_the_future,
    survivor_without_confirmation,
    retry_in_the_other_region,
    conflict_settled_as_deleted,
    documents_that_are_never_uploaded,
    document_while_the_peer_is_away,
    conditional_creation_after_a_deletion,
)


def play(steps: Callable[[Scenario], None]) -> list[Violation]:
    """Run a scenario, and return what did not hold."""
    with deterministic(0), limit("CHECKS_PER_TENANT", STARVING):
        scenario = Scenario(steps.__name__)
        try:
            steps(scenario)
            return scenario.finish()
        finally:
            scenario.platform.close()
