"""Performs the examples of docs/api.template.md on the running embedded platform, and writes docs/api.md of them.

`.venv/bin/python tools/api_examples.py` finds the platform as `hdr` does, by HDR_HOME and the other settings. Every run
works in a tenant of its own, so that whatever else is there does not show in the answers.
"""

import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
from api_page import Example, Performed, command, examples_in, filled, holds, pointed, rendered

from healthcare_dr.emulator import Emulator
from healthcare_dr.errors import DeploymentError, HealthcareDrError
from healthcare_dr.ops import bootstrap
from healthcare_dr.ops.http import https_client
from healthcare_dr.settings import load_settings

DOCS: Final = Path(__file__).parents[1] / "docs"
TEMPLATE: Final = DOCS / "api.template.md"
PAGE: Final = DOCS / "api.md"

# The tokens of the examples, by the name of the variable that holds them.
SCOPES: Final[Mapping[str, Sequence[str]]] = {
    "TOKEN": ("system/Patient.cruds", "system/DocumentReference.cruds", "system/AuditEvent.s"),
    "READER": ("system/Patient.rs",),
}
PATIENCE_SECONDS: Final = 90.0
PAUSE_SECONDS: Final = 0.5
TIMEOUT_SECONDS: Final = 35.0


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Where the examples are performed. `regions` holds pairs of a region's API address and API id: EAST, then WEST."""

    regions: tuple[tuple[str, str], tuple[str, str]]
    tokens: Mapping[str, str]
    ca_bundle: Path
    replicate: Callable[[bool], None]
    """Resume, or pause, replication between the regions."""

    @property
    def addresses(self) -> Mapping[str, Sequence[str]]:
        """What stands for each region in answers: its address, or a host with its API's id."""
        return dict(zip(("EAST", "WEST"), self.regions, strict=True))


def of_emulator(emulator: Emulator, *, api_ids: tuple[str, str], audience: str) -> Platform:
    """The platform deployed to an embedded AWS, with tokens of a tenant that nobody had before."""
    tenant = f"clinic-{secrets.token_hex(4)}"
    east, west = ((emulator.api_url(name), name) for name in api_ids)
    return Platform(
        regions=(east, west),
        tokens={
            name: emulator.token(
                subject="example-client", tenant=tenant, scopes=scopes, audience=audience, lifetime=timedelta(hours=1)
            )
            for name, scopes in SCOPES.items()
        },
        ca_bundle=emulator.certificate,
        replicate=lambda on: emulator.set_replication(tables=on, documents=on),
    )


def perform(
    examples: Sequence[Example],
    platform: Platform,
    *,
    patience: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Performed]:
    """Perform the examples one after the other; replication runs again at the end, whatever happens.

    Raises:
        DeploymentError: an answer has not the status, or lacks what is to be kept of it; the line shows the answer.
    """
    variables = {name: url for name, (url, _) in zip(("EAST", "WEST"), platform.regions, strict=True)}
    try:
        with https_client(platform.ca_bundle, timeout=TIMEOUT_SECONDS) as client:
            for example in examples:
                if example.replication is not None:
                    platform.replicate(example.replication)
                done = _performed(client, example, platform, variables, patience=patience, pause=pause)
                yield done
                for name, pointer in example.saves.items():
                    # An address of the server's own is kept from the FHIR base on: the next call may use another host.
                    variables[name] = str(pointed(done.body, pointer)).rpartition("/fhir/")[2]
    finally:
        platform.replicate(True)


def _performed(
    client: httpx.Client,
    example: Example,
    platform: Platform,
    variables: Mapping[str, str],
    *,
    patience: float,
    pause: Callable[[float], None],
) -> Performed:
    began = time.monotonic()
    while True:
        answer = _asked(client, example, platform, variables)
        body = _body(answer)
        as_wanted = answer.status_code == example.status
        if as_wanted and (example.until is None or holds(body, filled(example.until, variables))):
            for pointer in (*example.saves.values(), *example.cuts):
                if not holds(body, pointer):
                    raise DeploymentError(f"example {example.name}: there is no {pointer} in {answer.text[:600]}")
            return Performed(example, command(example, variables), answer.status_code, dict(answer.headers), body)
        if example.until is None or time.monotonic() - began > patience:
            raise DeploymentError(
                f"example {example.name} was answered {answer.status_code} instead of {example.status}"
                f"{'' if example.until is None else f' with {example.until}'}: {' '.join(answer.text.split())[:600]}"
            )
        pause(PAUSE_SECONDS)


def _asked(client: httpx.Client, example: Example, platform: Platform, variables: Mapping[str, str]) -> httpx.Response:
    headers: dict[str, str] = {}
    if example.as_who != "NOBODY":
        headers["Authorization"] = f"Bearer {platform.tokens[example.as_who]}"
    for line in example.headers:
        for header in filled(line, variables).splitlines():
            name, _, value = header.partition(":")
            headers[name.strip()] = value.strip()
    try:
        return client.request(
            example.method,
            filled(example.url, variables),
            headers=headers,
            content=filled(example.body, variables).encode() or None,
        )
    except httpx.TransportError as error:
        raise DeploymentError(f"example {example.name} was not answered: {error or type(error).__name__}") from error


def _body(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        return answer.text


def refuse_leaks(page: str, platform: Platform) -> None:
    """Raises DeploymentError when the page holds a token or a path of this machine."""
    private = (*platform.tokens.values(), str(platform.ca_bundle), str(Path.home()), str(DOCS.parent))
    if any(secret in page for secret in private if len(secret) > 1):
        raise DeploymentError("the page would hold a token or a path of this machine, so it was not written")


def main() -> int:
    """Write docs/api.md; 0, or 1 and one line on stderr."""
    try:
        settings = load_settings()
        target = bootstrap.target_of(settings, "embedded")
        target.preflight()
        outputs = bootstrap.outputs_of(settings, target)
        if not {"PrimaryApiId", "SecondaryApiId"} <= outputs.keys():
            raise DeploymentError("the platform is not deployed: begin with `hdr up`")
        platform = of_emulator(
            Emulator(home=settings.home.absolute() / "emulator", port=settings.emulator_port),
            api_ids=(outputs["PrimaryApiId"], outputs["SecondaryApiId"]),
            audience=settings.oidc_audience,
        )
        template = TEMPLATE.read_text(encoding="utf-8")
        done = []
        for performed in perform(examples_in(template), platform):
            print(f"{performed.status} {performed.example.name}", file=sys.stderr)
            done.append(performed)
        page = rendered(template, done, platform.addresses)
        refuse_leaks(page, platform)
        PAGE.write_text(page, encoding="utf-8")
    except HealthcareDrError as error:
        print(f"api_examples: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
