"""What holds for every test."""

import signal

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Whoever runs the tests in the background may have SIGINT ignored, which every child would inherit for good.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFolder(LoadScopeScheduling):  # type: ignore[misc] # xdist ships no types
    """Where tests are spread over processes, a folder stays in one: its tests share a deployment, or a synthesis."""

    def _split_scope(self, nodeid: str) -> str:
        tests, kind, *rest = nodeid.partition("::")[0].split("/")
        return "/".join((tests, kind, *rest[:1])) if kind == "unit" else f"{tests}/{kind}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    """Take it for what xdist spreads."""
    return ByFolder(config, log)
