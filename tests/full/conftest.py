"""Fixtures of the tests of `make test-full`."""

import pytest

from healthcare_dr.infra import Synthesis, synth
from healthcare_dr.settings import load_settings


@pytest.fixture(scope="session")
def synthesis(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """The three stacks, synthesized once."""
    return synth(load_settings(), tmp_path_factory.mktemp("synthesis"))
