"""Update a patient as clients do: read, change, and write conditionally; repeat when another write was faster."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from healthcare_dr.errors import DeploymentError
from healthcare_dr.ops.drill.load.client import PAUSE_SECONDS, Call, Client, Result
from healthcare_dr.ops.seed.people import Resource, encoded

FHIR: Final = "application/fhir+json"
MARK: Final = "urn:healthcare-dr:drill-update"
TURNS: Final = 6
OVERTAKEN: Final = (404, 405, 409, 412)
"""Another client was faster, or this region has not received the version that the other region returned before."""


@dataclass(frozen=True, kw_only=True)
class Updated:
    """The outcome of an update. Its version is None unless it was acknowledged.

    The result's attempts are 1 when nothing was repeated: the read before an update is not counted.
    """

    result: Result
    version: str | None


async def update(client: Client, *, patient: str, mark: str, headers: Mapping[str, str], dice: Random) -> Updated:
    """Write `mark`, which is unique to this update, into the record.

    The PUT of an earlier attempt may have arrived although its response was lost. Then the current version has the
    mark, and is the version that this update created.

    Raises:
        DeploymentError: the response is not one of the patient API.
    """
    path, tried = f"/fhir/Patient/{patient}", 0
    for turn in range(TURNS):
        if turn:
            await asyncio.sleep(PAUSE_SECONDS * dice.uniform(0.5, 1.5))
        result = await client.send(Call(method="GET", target=path, headers=dict(headers)))
        tried += result.attempts
        if result.status == 404:
            continue
        if result.status != 200:
            return _ended(result, tried)
        resource, version = _read(result)
        if _mark_of(resource) == mark:
            return _ended(result, tried - 1, version)
        put = Call(
            method="PUT",
            target=path,
            headers={**headers, "Content-Type": FHIR, "If-Match": f'W/"{version}"'},
            content=encoded(_marked(resource, mark)),
        )
        result = await client.send(put)
        tried += result.attempts
        if result.status == 200:
            return _ended(result, tried - 1, _read(result)[1])
        if result.status not in OVERTAKEN:
            break
    return _ended(result, tried - 1)


def _ended(result: Result, tried: int, version: str | None = None) -> Updated:
    return Updated(result=replace(result, attempts=max(1, tried)), version=version)


def _read(result: Result) -> tuple[Resource, str]:
    """Return the resource in a response, and its version."""
    try:
        resource = json.loads(result.body)
        version = resource["meta"]["versionId"]
    except (ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, str):
        raise DeploymentError("the API answered with a patient that has no version; is it the platform's?")
    return resource, version


def _mark_of(resource: Resource) -> str | None:
    return next((found.get("valueString") for found in resource.get("extension", ()) if found.get("url") == MARK), None)


def _marked(resource: Resource, mark: str) -> Resource:
    others = [found for found in resource.get("extension", ()) if found.get("url") != MARK]
    return {**resource, "extension": [*others, {"url": MARK, "valueString": mark}]}
