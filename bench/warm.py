"""A warm read, update and search through the handler, against the same boto3 calls made directly."""

import json

from bench import lambdas
from bench.model import Aim, Measurement, Say, Series
from bench.running import embedded_aws, python, scratch_folder

NOTES = {
    "read": "GET /fhir/Patient/{id}: one Query and one PutItem to the audit trail, at the same time on both sides.",
    "update": "PUT /fhir/Patient/{id} with If-Match: one TransactWriteItems of version, head, index and audit items.",
    "search": "GET /fhir/Patient by name, which finds 20: one Query, one BatchGetItem, one TransactWriteItems of 20 "
    "audit items.",
}


def measure(say: Say) -> list[Measurement]:
    """Both ways in one process, so both meet the same embedded AWS."""
    with scratch_folder() as scratch, embedded_aws(scratch / "home") as emulator:
        lambdas.create_resources(emulator)
        say("warm calls: about a minute")
        samples = json.loads(python("warm", environment=lambdas.environment(emulator)).output)
    return [
        Measurement(
            name=f"warm-{kind}",
            unit="ms",
            measured=Series("handler", tuple(found["handler"])),
            reference=Series("boto3 directly", tuple(found["boto3"])),
            aim=Aim("ratio", "most", 1.3),
            embedded=True,
            note=NOTES[kind],
        )
        for kind, found in samples.items()
    ]
