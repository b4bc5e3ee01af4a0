"""Update a patient as clients do: append to the list that was read, conditionally; repeat when another was faster."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from healthcare_dr.ops.drill.load.client import (
    PAUSE_SECONDS,
    Call,
    Client,
    Recorded,
    Result,
    appended,
    patient_in,
    with_appended,
)
from healthcare_dr.ops.seed.people import encoded

FHIR: Final = "application/fhir+json"
TURNS: Final = 6
OVERTAKEN: Final = (404, 405, 409, 412)
"""Another client was faster."""


@dataclass(frozen=True, kw_only=True)
class Updated:
    """The outcome of an update. Its version is None unless it was acknowledged.

    The result's attempts are 1 when nothing was repeated: the read before an update is not counted.
    """

    result: Result
    version: str | None


async def update(client: Client, *, patient: str, value: str, headers: Mapping[str, str], dice: Random) -> Updated:
    """Append `value`, which is unique to this update, to the list of the patient.

    The PUT of an earlier attempt may have arrived although its response was lost. Then the current version contains the
    value, and counts as the version of this update.

    Raises:
        DeploymentError: the response is not one of the patient API.
    """
    tried, result = 0, Result(status=None, error=None, region=None, attempts=0, longest_wait=0.0)

    def ended(result: Result, attempts: int, version: str | None = None) -> Updated:
        return Updated(result=replace(result, attempts=max(1, attempts)), version=version)

    for turn in range(TURNS):
        if turn:
            await asyncio.sleep(PAUSE_SECONDS * dice.uniform(0.5, 1.5))
        result = (await client.read(patient, dict(headers))).after(result)
        tried += result.attempts
        if result.status == 404:
            continue
        if result.status != 200:
            return ended(result, tried)
        resource, version = patient_in(result.body)
        if value in appended(resource):
            return ended(result, tried - 1, version)
        put = Call(
            method="PUT",
            target=f"/fhir/Patient/{patient}",
            headers={**headers, "Content-Type": FHIR, "If-Match": f'W/"{version}"'},
            content=encoded(with_appended(resource, value)),
            recorded=Recorded(kind="append", record=patient, named=version, value=value),
        )
        result = (await client.send(put)).after(result)
        tried += result.attempts
        if result.status == 200:
            return ended(result, tried - 1, patient_in(result.body)[1])
        # DNS may have changed since the read: this region waits for the version, which may be lost with the other one.
        if result.status not in OVERTAKEN and not result.not_yet:
            break
    return ended(result, tried - 1)
