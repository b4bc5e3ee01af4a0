"""Tests of garbage collection in the services process."""

import gc
from collections.abc import Iterator

import pytest

from healthcare_dr.emulator.services.server import keep_collections_short


@pytest.fixture
def collector() -> Iterator[None]:
    """Restore the collector after a test."""
    before = list(gc.callbacks)
    yield
    gc.callbacks[:] = before
    gc.unfreeze()


def examined(marked: list[object]) -> bool:
    """Return whether a full collection examines the object."""
    return any(found is marked for found in gc.get_objects())


@pytest.mark.usefixtures("collector")
def test_objects_that_survive_a_full_collection_are_frozen() -> None:
    marked: list[object] = []
    gc.collect()
    assert examined(marked)
    keep_collections_short()
    gc.collect()
    assert not examined(marked)
    newer: list[object] = []
    assert examined(newer)
