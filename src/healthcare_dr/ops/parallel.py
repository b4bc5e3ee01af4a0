"""Runs the same step for several stacks at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from healthcare_dr.errors import DeploymentError

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(step: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The results in the order of the items. A failure of one lets the others finish.

    Raises:
        Interrupted: when the operator ended any of them.
        DeploymentError: with the text of each that failed.
    """
    with ThreadPoolExecutor(max_workers=max(1, len(items))) as pool:
        futures = [pool.submit(step, item) for item in items]
    problems = [problem for future in futures if (problem := future.exception()) is not None]
    for problem in problems:
        if not isinstance(problem, DeploymentError):
            raise problem
    if problems:
        raise DeploymentError("; ".join(str(problem) for problem in problems))
    return [future.result() for future in futures]
