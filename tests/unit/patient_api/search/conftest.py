from collections.abc import Iterator

import pytest

from unit.patient_api.search.region import SearchRegion


@pytest.fixture
def region() -> Iterator[SearchRegion]:
    built = SearchRegion()
    yield built
    built.close()
