"""Proof after a deployment: a fictitious patient written in one region is read in the other."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.http import https_client

if TYPE_CHECKING:
    import httpx

# The promised recovery point: a record that is not there by then breaks the promise.
PATIENCE_SECONDS = 60.0
PATIENT = {
    "resourceType": "Patient",
    "active": True,
    "name": [{"use": "official", "family": "Fictitious", "given": ["Demo"]}],
    "gender": "unknown",
    "birthDate": "1970-01-01",
}


@dataclass(frozen=True)
class Demo:
    """The record, and how long it took; seconds as a client saw them."""

    patient_id: str
    version: str
    written_in: str
    read_in: str
    write_seconds: float
    seen_after_seconds: float
    """From the acknowledged write to the peer's answer that held it."""


def demonstrate(
    *,
    write_to: tuple[str, str],
    read_from: tuple[str, str],
    token: str,
    ca_bundle: Path | None,
    pause: Callable[[float], None] = time.sleep,
) -> Demo:
    """Write through one region and read through the other; both are (region, address of the API).

    Raises:
        DeploymentError: either call was refused, or the record did not arrive within the promised time.
    """
    import httpx

    (region, url), (peer, peer_url) = write_to, read_from
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/fhir+json"}
    try:
        with https_client(ca_bundle) as client:
            began = time.monotonic()
            created = _json(client.post(f"{url}/fhir/Patient", json=PATIENT, headers=headers), 201, region)
            written = time.monotonic()
            address = f"{peer_url}/fhir/Patient/{created['id']}"
            answer = client.get(address, headers=headers)
            while answer.status_code == 404 and time.monotonic() - written < PATIENCE_SECONDS:
                pause(0.2)
                answer = client.get(address, headers=headers)
            seen = time.monotonic()
            read = _json(answer, 200, peer)
    except httpx.HTTPError as error:
        raise DeploymentError(f"the API does not answer: {error or type(error).__name__}") from error
    if (read["id"], read["meta"]["versionId"], read["name"]) != (
        created["id"],
        created["meta"]["versionId"],
        PATIENT["name"],
    ):
        raise DeploymentError(f"the record read in {peer} is not the one written in {region}")
    return Demo(
        patient_id=created["id"],
        version=created["meta"]["versionId"],
        written_in=region,
        read_in=peer,
        write_seconds=round(written - began, 3),
        seen_after_seconds=round(seen - written, 3),
    )


def _json(response: "httpx.Response", expected: int, region: str) -> dict[str, Any]:
    if response.status_code != expected:
        raise DeploymentError(
            f"the API of {region} answered {response.status_code} instead of {expected} to {response.request.method} "
            f"{response.request.url}: {' '.join(response.text.split())[:300]}"
        )
    return dict(response.json())
