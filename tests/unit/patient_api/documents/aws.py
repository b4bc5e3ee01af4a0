"""The embedded AWS with what documents need of it: a bucket and a key in each region, a table, the roles."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from healthcare_dr.emulator import Emulator
from patient_api.aws import Clients
from patient_api.contract.functions import CONFIRM_DOCUMENTS, Environment
from unit.emulator.aws import Aws
from unit.patient_api.documents.dynamodb import AUDIT, RECORDS
from unit.patient_api.documents.world import EAST, WEST

DOCUMENTS_ROLE = "documents-peer"


@dataclass(frozen=True)
class Embedded:
    """`client` makes boto3 clients as root; `keys` are the ARNs of the regions' keys."""

    emulator: Emulator
    keys: dict[str, str]

    def client(self, service: str, region: str = EAST) -> Any:
        return Aws(self.emulator)(service, region)

    def variables(self, region: str = EAST) -> dict[str, str]:
        """What Lambda tells a function in that region."""
        peer = WEST if region == EAST else EAST
        return {
            "AWS_REGION": region,
            "PEER_REGION": peer,
            "RECORDS_TABLE": RECORDS,
            "AUDIT_TABLE": AUDIT,
            "DOCUMENTS_BUCKET": f"documents-{region}",
            "KEY_ARN": self.keys[region],
            "PEER_DOCUMENTS_BUCKET": f"documents-{peer}",
            "PEER_ROLE_ARN": f"arn:aws:iam::{self.emulator.account}:role/{DOCUMENTS_ROLE}",
            "INDEX_KEY_ALIAS": "alias/index",
            "LOG_LEVEL": "INFO",
        }

    def environment(self, region: str = EAST) -> Environment:
        return Environment.of(self.variables(region), CONFIRM_DOCUMENTS)

    def functions_clients(self, region: str = EAST) -> Clients:
        """Clients as a function has them, once the process has the embedded AWS's environment."""
        return _clients(self.emulator.home, region)


@cache
def _clients(home: Path, region: str) -> Clients:
    # Made once: it is botocore's models that take the time, and the credentials stay the same.
    assert home.exists()
    return Clients(region=region)


def prepare(emulator: Emulator) -> Embedded:
    """Buckets, keys, tables and the role that the functions take."""
    client = Aws(emulator)
    keys = {}
    for region in (EAST, WEST):
        keys[region] = client("kms", region).create_key()["KeyMetadata"]["Arn"]
        s3 = client("s3", region)
        location = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region != EAST else {}
        s3.create_bucket(Bucket=f"documents-{region}", **location)
        s3.put_bucket_versioning(Bucket=f"documents-{region}", VersioningConfiguration={"Status": "Enabled"})
    for table in (RECORDS, AUDIT):
        names = ("pk", "sk", "update_shard", "updated")
        client("dynamodb").create_table(
            TableName=table,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-update",
                    "KeySchema": [
                        {"AttributeName": "update_shard", "KeyType": "HASH"},
                        {"AttributeName": "updated", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        )
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
