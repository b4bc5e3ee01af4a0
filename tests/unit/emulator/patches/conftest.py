"""Tests that apply patches in the process of the test restore the modules of ministack."""

from collections.abc import Iterator

import pytest
from ministack.core import iam_evaluator
from ministack.services import apigateway, dynamodb, eventbridge, scheduler

from healthcare_dr.emulator.patches import clock

PATCHED_MODULES = (apigateway, dynamodb, eventbridge, iam_evaluator, scheduler)


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore the modules that a test patches."""
    before = [(module, dict(vars(module))) for module in PATCHED_MODULES]
    yield
    clock.set_time_scale_source(lambda: 1.0)
    for module, values in before:
        vars(module).update(values)
