"""Fixtures that several tests of the deployed platform share."""

from collections.abc import Iterator

import pytest

from support.platform import Deployed
from support.region_loss import Loss, lost


@pytest.fixture(scope="module")
def loss(deployed: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loss]:
    """The record of one loss of the primary region."""
    with lost(deployed, tmp_path_factory.mktemp("loss")) as record:
        yield record
