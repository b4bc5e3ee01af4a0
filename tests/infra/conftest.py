"""One synthesis for all infrastructure tests, because Node needs seconds to start."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from healthcare_dr.infra import Synthesis, synth
from healthcare_dr.infra.lint.model import Platform
from healthcare_dr.settings import Settings, load_settings
from infra.damage import Documents


@pytest.fixture(scope="session")
def settings() -> Settings:
    return load_settings()


@pytest.fixture(scope="session")
def synthesis(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    return synth(settings, tmp_path_factory.mktemp("synthesis"))


@pytest.fixture
def documents(synthesis: Synthesis) -> Documents:
    """A copy of the JSON of all stacks, which the test may damage."""
    return copy.deepcopy(synthesis.documents())


@pytest.fixture(scope="session")
def platform(synthesis: Synthesis, settings: Settings) -> Platform:
    return Platform(synthesis.documents(), settings)


@pytest.fixture(scope="session")
def synth_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Synthesis, Settings]]:
    """Return a function that synthesizes with other settings."""

    def run(**overrides: object) -> tuple[Synthesis, Settings]:
        chosen = load_settings(**overrides)
        outdir: Path = tmp_path_factory.mktemp("variant")
        return synth(chosen, outdir), chosen

    return run


@pytest.fixture(scope="session")
def all_settings(synth_with: Callable[..., tuple[Synthesis, Settings]]) -> tuple[Synthesis, Settings]:
    """The stacks with every setting that changes what is deployed."""
    return synth_with(
        environment_suffix="all-on-1",
        domain="dr.clinic-one.org",
        dns_delegated=True,
        fault_injection=True,
        operations_emails="one@example.org, two@example.org",
        operations_endpoints="https://events.example.com/integration/abc/enqueue?a=1&b=2, https://pager.example.org/x",
        operations_webhooks="https://hooks.example.org/services/T/B/x",
        state_bucket="healthcare-dr-state",
        primary_weight=60,
        secondary_weight=40,
        dns_ttl=5,
        cors_origins="https://app.example.com, https://other.example.com",
        primary_cidr="10.8.0.0/16",
        secondary_cidr="10.9.0.0/20",
        github_repository="octo-org/healthcare",
    )
