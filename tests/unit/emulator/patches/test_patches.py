"""Tests of the list of patches."""

import inspect

import pytest

from healthcare_dr.emulator import patches
from healthcare_dr.emulator.patches import PATCHES, replacement

MODULES = [module for _, module in inspect.getmembers(patches, inspect.ismodule) if module is not replacement]


def is_patch(function: object) -> bool:
    """Return whether a function is made by `replaces`, or has no parameters and no result."""
    return hasattr(function, "__wrapped__") or str(inspect.signature(function)) == "() -> None"  # type: ignore[arg-type]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_patch_of_a_module_is_applied(module: object) -> None:
    name = module.__name__  # type: ignore[attr-defined] # set at run time
    functions = [function for _, function in inspect.getmembers(module, inspect.isfunction)]
    declared = {one for one in functions if one.__module__ == name and one.__name__[0] != "_" and is_patch(one)}
    assert declared == {patch for patch in PATCHES if patch.__module__ == name}
