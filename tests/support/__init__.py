"""Helpers of the tests on a deployed platform; this package contains no tests."""
