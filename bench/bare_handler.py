"""The reference for cold starts: the minimal handler of an audited read of a patient, with boto3 alone.

It contains the formats of keys as literals, because importing the contract would add to its cold start.
"""

import json
import os
import time
import uuid

import boto3

_client = boto3.client("dynamodb")


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    """Read the record, write the audit item, and respond."""
    del context
    authorizer = event["requestContext"]["authorizer"]  # type: ignore[index]  # the form of the event is known
    claims = authorizer["jwt"]["claims"]
    patient_id = str(event["rawPath"]).rpartition("/")[2]
    (found,) = _client.query(
        TableName=os.environ["RECORDS_TABLE"],
        KeyConditionExpression="pk = :pk AND begins_with(sk, :versions)",
        ExpressionAttributeValues={
            ":pk": {"S": f"{claims['tenant']}#Patient#{patient_id}"},
            ":versions": {"S": "v#"},
        },
        ScanIndexForward=False,
        ConsistentRead=True,
        Limit=1,
    )["Items"]
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    audit = {
        "pk": f"{claims['tenant']}#{at[:13]}#00",
        "sk": f"{at}#{uuid.uuid4()}",
        "at": at,
        "tenant": claims["tenant"],
        "subject": claims["sub"],
        "action": "R",
        "outcome": "success",
        "record": f"{claims['tenant']}#Patient/{patient_id}",
        "region": os.environ["AWS_REGION"],
    }
    _client.put_item(
        TableName=os.environ["AUDIT_TABLE"],
        Item={name: {"S": text} for name, text in audit.items()},
        ConditionExpression="attribute_not_exists(pk)",
    )
    print(json.dumps({"message": "call", "status": 200}))
    return {
        "statusCode": 200,
        "headers": {"Content-Type": "application/fhir+json", "Cache-Control": "no-store"},
        "body": found["resource"]["S"],
    }
