from collections.abc import Iterator

import pytest

from unit.patient_api.search.site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    built = Site()
    yield built
    built.close()
