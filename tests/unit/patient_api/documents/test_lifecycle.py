"""The life cycle of documents: the join of their items, and the transitions."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patient_api.clock import Stamp
from patient_api.contract.keys import DOCUMENT
from patient_api.documents import reference
from patient_api.documents.lifecycle import (
    CHECKS,
    FINALIZE,
    TRANSITIONS,
    Actor,
    Document,
    IllegalTransitionError,
    Listing,
    Replica,
    State,
    check,
    next_check,
)
from patient_api.store.model import Method, RecordKey, Version, version_of
from unit.patient_api.fakes.documents import CONTENT, EAST, TENANT, WEST, document
from unit.patient_api.fakes.s3 import START, sha256

PAGE = Path(__file__).parents[4] / "docs" / "documents.md"
KEY = RecordKey(TENANT, DOCUMENT, "doc-1")
REPLICA_STATES = (State.ANNOUNCED, State.ORPHANED, State.STORED, State.VERIFIED, State.FINAL, State.IN_ERROR)


def version(millis: int, region: str, status: str, content: bytes = CONTENT) -> Version:
    resource = document(content)
    if status == "final":
        resource = reference.final(resource, {EAST: "east-1", WEST: "west-1"})
    elif status == "entered-in-error":
        resource = reference.in_error(resource)
    stamp = Stamp(1_800_000_000_000 + millis, 0, region)
    return version_of(resource, key=KEY, stamp=stamp, method=Method.PUT)


def replica(region: str, state: State, revision: int = 0, content: bytes = CONTENT, *, offered: bool = True) -> Replica:
    return Replica(
        region=region, state=state, at=START, since=START, offered=offered, revision=revision,
        version_id=f"{region}-{revision}", sha256=sha256(content),
    )  # fmt: skip


VERSIONS = st.lists(
    st.builds(
        version,
        st.integers(0, 6),
        st.sampled_from([EAST, WEST]),
        st.sampled_from(["preliminary", "final", "entered-in-error"]),
    ),
    max_size=5,
    unique_by=lambda found: found.stamp,
)
REPLICAS = st.lists(
    st.builds(replica, st.sampled_from([EAST, WEST]), st.sampled_from(REPLICA_STATES), st.integers(0, 4)),
    max_size=4,
    unique_by=lambda found: (found.region, found.revision),
)


@st.composite
def parts(draw: st.DrawFn) -> list[Document]:
    """Draw documents that hold some of the same items: what regions see while items replicate."""
    versions, replicas = draw(VERSIONS), draw(REPLICAS)

    def some() -> Document:
        return Document.of(
            KEY,
            [item for item in versions if draw(st.booleans())],
            [item for item in replicas if draw(st.booleans())],
        )

    return [some() for _ in range(3)]


@given(parts())
def test_state_is_a_join_semilattice(found: list[Document]) -> None:
    one, two, three = found
    assert one.join(one) == one
    assert one.join(two) == two.join(one)
    assert one.join(two).join(three) == one.join(two.join(three))


@given(parts())
def test_final_document_stays_final_with_every_other_item(found: list[Document]) -> None:
    one, two, _ = found
    joined = one.join(two)
    if one.final:
        assert joined.final
        assert joined.state(EAST) is joined.state(WEST) is State.FINAL
    if joined.final:
        assert one.final or two.final
    elif joined.versions:
        assert joined.in_error == (one.in_error or two.in_error)


@given(VERSIONS, st.randoms())
def test_current_version_depends_on_the_versions_alone(versions: list[Version], dice: object) -> None:
    if not versions:
        return
    current = Document.of(KEY, versions).current
    shuffled = [*versions, *versions]
    dice.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random
    assert Document.of(KEY, shuffled).current == current
    finals = [found for found in versions if "final" in str(found.resource)]
    assert not finals or current == max(finals, key=lambda found: found.stamp)


def test_version_that_is_not_known_to_have_the_declared_bytes_is_not_verified() -> None:
    announced = version(1, WEST, "preliminary")
    items = [replica(EAST, State.FINAL, content=b"other"), replica(WEST, State.STORED)]
    assert Document.of(KEY, [announced], items).verified == {}
    final = version(2, WEST, "final")
    assert Document.of(KEY, [announced, final], items).verified == {EAST: "east-1", WEST: "west-1"}


def test_version_that_a_region_has_verified_later_replaces_that_of_the_final_version() -> None:
    versions = [version(1, WEST, "preliminary"), version(2, WEST, "final")]
    later = replica(EAST, State.FINAL, 4)
    assert Document.of(KEY, versions, [later]).verified == {EAST: later.version_id, WEST: "west-1"}


@pytest.mark.parametrize(
    ("state", "offered", "listing"),
    [
        (State.ANNOUNCED, True, Listing.AWAITED),
        (State.ORPHANED, False, Listing.AWAITED),
        (State.STORED, False, Listing.PENDING),
        (State.VERIFIED, True, Listing.PENDING),
        (State.VERIFIED, False, None),
        (State.FINAL, True, None),
        (State.IN_ERROR, True, None),
    ],
)
def test_region_lists_what_it_has_left_to_do(state: State, offered: bool, listing: Listing | None) -> None:
    assert replica(EAST, state, offered=offered).listing is listing


def test_checks_become_rarer() -> None:
    times, now = [], START
    while now <= START + timedelta(hours=26):
        now = next_check(START, now)
        times.append(now - START)
    assert times[: len(CHECKS)] == list(CHECKS)
    assert len(times) == len(CHECKS) + 3


def test_each_sweep_checks_an_orphan_and_a_region_that_stands_by_does_not_wait_for_a_day() -> None:
    for minutes in (1, 30, 600):
        now = START + timedelta(minutes=minutes)
        assert next_check(START, now, State.ORPHANED) == now + timedelta(minutes=1)
    times, now = [], START
    while now < START + timedelta(hours=2):
        now = next_check(START, now, State.VERIFIED)
        times.append((now - START) / timedelta(minutes=1))
    assert times == [1, 4, 16, 76, 136]


def test_no_transition_leaves_final() -> None:
    from_final = [transition for transition in TRANSITIONS if State.FINAL in transition.sources]
    assert {transition.target for transition in from_final} == {State.FINAL}


def test_every_state_is_reached_and_ends_in_final_or_error() -> None:
    assert {transition.target for transition in TRANSITIONS} == set(State)
    ends = {State.FINAL, State.IN_ERROR}
    for _ in State:
        ends |= {source for found in TRANSITIONS if found.target in ends for source in found.sources if source}
    assert ends == set(State)


@pytest.mark.parametrize(
    ("state", "actor"), [(State.STORED, Actor.SWEEP), (State.FINAL, Actor.SWEEP), (State.VERIFIED, Actor.CLIENT)]
)
def test_other_transitions_are_defects(state: State, actor: Actor) -> None:
    check(FINALIZE, State.VERIFIED, Actor.SWEEP)
    with pytest.raises(IllegalTransitionError):
        check(FINALIZE, state, actor)


def test_diagram_of_the_documentation_shows_all_transitions() -> None:
    drawn = set(re.findall(r"^    (\[\*\]|\w+) --> (\w+): (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    named = {None: "[*]", State.IN_ERROR: "in_error"}
    assert drawn == {
        (named.get(source, source), named.get(transition.target, transition.target), transition.name)
        for transition in TRANSITIONS
        for source in transition.sources
    }


def test_table_of_the_documentation_states_all_transitions() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for transition in TRANSITIONS:
        actors = ", ".join(transition.actors)
        assert f"| `{transition.name}` | {actors} | {transition.writes} |" in text
    for state in State:
        assert f"| {state} |" in text
