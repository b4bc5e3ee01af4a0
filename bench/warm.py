"""A warm read and a warm write through the handler, against the same boto3 calls made directly."""

import json

from bench import lambdas
from bench.model import Aim, Measurement, Say, Series
from bench.running import embedded_aws, python, scratch_folder

NOTES = {
    "read": "GET /fhir/Patient/{id}: one GetItem and one PutItem to the audit trail, at the same time on both sides.",
    "write": "POST /fhir/Patient: one TransactWriteItems of version, head and audit item.",
}


def measure(say: Say) -> list[Measurement]:
    """Both ways in one process, so both meet the same embedded AWS."""
    with scratch_folder() as scratch, embedded_aws(scratch / "home") as emulator:
        lambdas.create_tables(emulator)
        say("warm calls: about half a minute")
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
