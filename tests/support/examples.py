"""The number of examples of property tests: few in `make test`, many in `make test-full`."""

import os
from typing import Final

AT_LENGTH: Final = "HEALTHCARE_DR_TESTS_AT_LENGTH"


def examples(brief: int, at_length: int) -> int:
    """Return the number of examples for this run: `at_length` if the variable is set, as in `make test-full`."""
    return at_length if os.environ.get(AT_LENGTH) else brief
