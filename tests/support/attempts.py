"""AWS calls with the credentials of a function's role, made from a temporary Lambda function."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from support.platform import REGIONS, Deployed

CODE = """
import boto3

def handler(event, context):
    options = {}
    if event.get("assume"):
        taken = boto3.client("sts").assume_role(RoleArn=event["assume"], RoleSessionName="test")["Credentials"]
        options = {
            "aws_access_key_id": taken["AccessKeyId"],
            "aws_secret_access_key": taken["SecretAccessKey"],
            "aws_session_token": taken["SessionToken"],
        }
    try:
        client = boto3.client(event["service"], region_name=event["region"], **options)
        answer = getattr(client, event["call"])(**event["arguments"])
    except Exception as error:
        print("refused")
        return type(error).__name__ + ": " + str(error)
    print("allowed")
    return answer["Body"].read().decode() if "Body" in answer else "allowed"
"""
Attempt = Callable[..., str]


@contextmanager
def attempts(deployed: Deployed, roles: Sequence[str]) -> Iterator[Attempt]:
    """Create a function with each of these roles in each region.

    Yields `attempt(region, role, service, call, *, at=None, assume=None, **arguments)`, which makes a boto3 call from
    the function, in the region `at` and with the role `assume` if they are given. It returns `allowed`, the body of the
    response if it has one, or the error.
    """
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("attempt.py", CODE)
    functions = [(region, f"attempt-{role}-it", role) for region in REGIONS for role in roles]
    for region, name, role in functions:
        arn = deployed.client("iam").get_role(RoleName=deployed.names.of(role, region))["Role"]["Arn"]
        deployed.client("lambda", region).create_function(
            FunctionName=name, Role=arn, Runtime="python3.13", Handler="attempt.handler", Timeout=20,
            Code={"ZipFile": archive.getvalue()},
        )  # fmt: skip

    def attempt(
        region: str, role: str, service: str, call: str, *, at: str | None = None, assume: str | None = None,
        **arguments: object,
    ) -> str:  # fmt: skip
        event = {"service": service, "call": call, "region": at or region, "assume": assume, "arguments": arguments}
        response = deployed.client("lambda", region).invoke(
            FunctionName=f"attempt-{role}-it", Payload=json.dumps(event)
        )
        return str(json.loads(response["Payload"].read()))

    yield attempt
    for region, name, _ in functions:
        deployed.client("lambda", region).delete_function(FunctionName=name)
        deployed.client("logs", region).delete_log_group(logGroupName=f"/aws/lambda/{name}")
