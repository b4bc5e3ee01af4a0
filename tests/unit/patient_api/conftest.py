from collections.abc import Iterator

import pytest

from unit.patient_api.whole_api import Platform


@pytest.fixture
def platform() -> Iterator[Platform]:
    built = Platform()
    yield built
    built.close()
