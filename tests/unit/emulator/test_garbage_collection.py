"""How long the collector of reference cycles stops the embedded AWS for."""

import gc
from collections.abc import Iterator

import pytest

from healthcare_dr.emulator.services.server import keep_collections_short


@pytest.fixture
def collector() -> Iterator[None]:
    """As it was before, afterwards."""
    before = list(gc.callbacks)
    yield
    gc.callbacks[:] = before
    gc.unfreeze()


def looked_at(marked: list[object]) -> bool:
    """Whether a full collection would go through it."""
    return any(found is marked for found in gc.get_objects())


@pytest.mark.usefixtures("collector")
def test_what_survived_a_full_collection_is_not_gone_through_again() -> None:
    marked: list[object] = []
    gc.collect()
    assert looked_at(marked)
    keep_collections_short()
    gc.collect()
    assert not looked_at(marked)
    newer: list[object] = []
    assert looked_at(newer)
