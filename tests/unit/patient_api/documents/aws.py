"""The embedded AWS with buckets, keys, tables and the role that the functions for documents use."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from bench.functions import create_tables

from healthcare_dr.emulator.emulator import Emulator
from patient_api.aws import Clients
from patient_api.contract.functions import Environment
from unit.emulator.aws import Aws
from unit.patient_api.fakes.aws import AUDIT, ENVIRONMENT, RECORDS
from unit.patient_api.fakes.documents import EAST, WEST

DOCUMENTS_ROLE = "documents-peer"


@dataclass(frozen=True)
class Embedded:
    """`client` creates boto3 clients of the root user; `keys` are the ARNs of the regions' keys."""

    emulator: Emulator
    keys: dict[str, str]

    def client(self, service: str, region: str = EAST) -> Any:
        return Aws(self.emulator)(service, region)

    def environment(self, region: str = EAST) -> Environment:
        """Return the environment of a function in that region."""
        peer = WEST if region == EAST else EAST
        return replace(
            ENVIRONMENT,
            region=region,
            peer_region=peer,
            documents_bucket=f"documents-{region}",
            key_arn=self.keys[region],
            peer_documents_bucket=f"documents-{peer}",
            peer_role_arn=f"arn:aws:iam::{self.emulator.account}:role/{DOCUMENTS_ROLE}",
            log_level="INFO",
        )

    def functions_clients(self, region: str = EAST) -> Clients:
        """Return the clients of a function. The process needs the environment of the embedded AWS."""
        return _clients(self.emulator.home, region)


@cache
def _clients(home: Path, region: str) -> Clients:
    # Cached, because loading botocore's models takes long, and the credentials stay the same.
    assert home.exists()
    return Clients(region=region)


def prepare(emulator: Emulator) -> Embedded:
    """Create the resources."""
    client = Aws(emulator)
    keys = {}
    for region in (EAST, WEST):
        keys[region] = client("kms", region).create_key()["KeyMetadata"]["Arn"]
        s3 = client("s3", region)
        location = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != EAST else {}
        s3.create_bucket(Bucket=f"documents-{region}", **location)
        s3.put_bucket_versioning(Bucket=f"documents-{region}", VersioningConfiguration={"Status": "Enabled"})
    create_tables(client("dynamodb"), records=RECORDS, audit=AUDIT)
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": emulator.account}}
    allowed = {"Effect": "Allow", "Action": ["s3:*", "kms:*"], "Resource": "*"}
    iam = client("iam")
    iam.create_role(
        RoleName=DOCUMENTS_ROLE,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    iam.put_role_policy(
        RoleName=DOCUMENTS_ROLE,
        PolicyName="all",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
    )
    return Embedded(emulator, keys)
