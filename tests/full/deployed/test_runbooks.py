"""The commands of the runbooks run in their order, and give the documented output.

A block of `console` is run, in one shell for a whole page, after the first block of README.md; one of `console aws` is
for AWS only and is not run. A command exits with 0 unless the page states `# exits with N`. An expected line has to
appear as a whole line, in order; `…` matches anything. Each page starts with its incident prepared and restores the
platform.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from patient_api.clock import Stamp
from patient_api.contract.functions import FUNCTIONS
from patient_api.contract.keys import PATIENT
from patient_api.store.model import Method, RecordKey, lineage_item, version_item, version_of
from support.platform import HDR, REGIONS, ROOT, Deployed, eventually, letter, patient, reference, upload_of
from support.runbook_pages import commands, run_commands, text_of
from support.shell import opened

PRIMARY, SECONDARY = REGIONS
TENANT = "clinic-runbook"
Incident = Callable[[Deployed], AbstractContextManager[Mapping[str, str]]]


def found(deployed: Deployed) -> dict[str, object]:
    """Return the state that a runbook may change while it runs, and must restore."""
    return {
        "drained": [drained(deployed, region) for region in REGIONS],
        "replication": deployed.emulator.replication(),
        "conflicts": deployed.reported("conflicts"),
        "tables": {region: sorted(tables(deployed, region)) for region in REGIONS},
        "concurrency": {region: reserved(deployed, region) for region in REGIONS},
        "backups": {
            region: deployed.client("dynamodb", region).list_backups()["BackupSummaries"] for region in REGIONS
        },
    }


def restore(deployed: Deployed) -> None:
    """Restore what a page that stopped half-way has changed."""
    deployed.emulator.refuse_control_planes(refused=False)
    for region in REGIONS:
        for name in reserved(deployed, region):
            deployed.client("lambda", region).delete_function_concurrency(FunctionName=name)
        own = {deployed.names.records_table, deployed.names.audit_table}
        for name in tables(deployed, region) - own:
            deployed.client("dynamodb", region).delete_table(TableName=name)
        if drained(deployed, region) == 200:
            deployed.hdr("restore", region, "--force", "--reason", "the test is over")
    deployed.restore()


def drained(deployed: Deployed, region: str) -> int:
    """Return the status of a region's drain flag in the other region."""
    return deployed.drain_flags(region)[1 - REGIONS.index(region)]


def tables(deployed: Deployed, region: str) -> set[str]:
    return set(deployed.client("dynamodb", region).list_tables()["TableNames"])


def reserved(deployed: Deployed, region: str) -> dict[str, int]:
    """Return the reserved concurrency of the functions that have one."""
    client = deployed.client("lambda", region)
    responses = {
        function["FunctionName"]: client.get_function_concurrency(FunctionName=function["FunctionName"])
        for function in client.list_functions()["Functions"]
    }
    return {
        name: answer["ReservedConcurrentExecutions"]
        for name, answer in responses.items()
        if "ReservedConcurrentExecutions" in answer
    }


@contextmanager
def none(deployed: Deployed) -> Iterator[Mapping[str, str]]:
    """Prepare nothing."""
    yield {}


@contextmanager
def conflict(deployed: Deployed) -> Iterator[Mapping[str, str]]:
    """Create a patient that both regions change concurrently."""
    with apis(deployed) as (east, west):
        created = east.post("/fhir/Patient", json=patient()).raise_for_status().json()
        path, match = f"/fhir/Patient/{created['id']}", {"If-Match": f'W/"{created["meta"]["versionId"]}"'}
        eventually(lambda: west.get(path).status_code == 200)
        deployed.emulator.set_replication(tables=False)
        try:
            for api, gender in ((east, "female"), (west, "other")):
                api.put(path, json=patient(id=created["id"], gender=gender), headers=match).raise_for_status()
        finally:
            deployed.emulator.set_replication(tables=True)

        def open_conflicts() -> list[dict[str, Any]]:
            return [one for one in deployed.reported("conflicts")["open"] if one["tenant"] == TENANT]

        eventually(lambda: bool(open_conflicts()) and len(open_conflicts()[0]["listed_in"]) == len(REGIONS))
        try:
            yield {}
        finally:
            for one in open_conflicts():
                others = ",".join(f'W/"{other}"' for other in one["others"])
                headers = {"If-Match": f'W/"{one["current"]}"', "Merges": others}
                west.put(path, json=patient(id=created["id"]), headers=headers).raise_for_status()
            eventually(lambda: not open_conflicts())


@contextmanager
def lost_documents(deployed: Deployed) -> Iterator[Mapping[str, str]]:
    """Create in us-west-2 a document with wrong bytes, one that was final and then deleted, and an unconfirmed one."""
    function = deployed.names.of("document-confirmation")
    functions, s3 = deployed.client("lambda", SECONDARY), deployed.client("s3", SECONDARY)
    with apis(deployed) as (_, west), deployed.http() as objects:
        owner = west.post("/fhir/Patient", json=patient()).raise_for_status().json()["id"]

        def announced(content: bytes) -> dict[str, Any]:
            answer = west.post("/fhir/DocumentReference", json=reference(owner, content)).raise_for_status()
            return dict(answer.json())

        def uploaded() -> str:
            content = letter()
            document = announced(content)
            address, headers = upload_of(document)
            objects.put(address, content=content, headers=headers).raise_for_status()
            return str(document["id"])

        def key(document: str) -> dict[str, str]:
            return {"Bucket": deployed.bucket(SECONDARY), "Key": f"documents/{TENANT}/{document}"}

        def status(document: str) -> str:
            return str(west.get(f"/fhir/DocumentReference/{document}").raise_for_status().json()["docStatus"])

        wrong, deleted = str(announced(letter())["id"]), uploaded()
        s3.put_object(**key(wrong), Body=letter())
        eventually(lambda: (status(wrong), status(deleted)) == ("entered-in-error", "final"), seconds=60)
        s3.delete_object(**key(deleted))
        deployed.settle()
        functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
        try:
            stuck = uploaded()
            assert status(stuck) == "preliminary"
            yield {"TENANT": TENANT}
            assert status(stuck) == "final"
            assert s3.head_object(**key(deleted))["ContentLength"] > 0
        finally:
            functions.delete_function_concurrency(FunctionName=function)


@contextmanager
def damaged_table(deployed: Deployed) -> Iterator[Mapping[str, str]]:
    """Create two patients, overwrite a version of one and remove the other. A region was drained and restored before:
    nothing may drain it again.
    """
    db, table = deployed.client("dynamodb", SECONDARY), deployed.names.records_table
    flag = {"pk": {"S": "$platform#drain"}, "sk": {"S": PRIMARY}}
    with apis(deployed) as (east, west):
        created = [east.post("/fhir/Patient", json=patient()).raise_for_status().json()["id"] for _ in range(2)]
        deployed.settle()
        right = [west.get(f"/fhir/Patient/{name}").raise_for_status().json() for name in created]
        db.put_item(TableName=table, Item=flag)
        # The runbook restores the tables to fifteen seconds before the first line in the log.
        time.sleep(18)
        db.delete_item(TableName=table, Key=flag)
        for number, name in enumerate(created):
            key = f"{TENANT}#Patient#{name}"
            items = db.query(
                TableName=table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": key}},
                ConsistentRead=True,
            )["Items"]
            for item in items:
                if number:
                    db.delete_item(TableName=table, Key={"pk": item["pk"], "sk": item["sk"]})
                elif item["sk"]["S"].startswith("v#"):
                    db.put_item(TableName=table, Item=item | {"resource": {"S": '{"resourceType":"Patient"}'}})
        deployed.settle()
        assert west.get(f"/fhir/Patient/{created[1]}").status_code == 404
        yield {"LOOK_BACK": "60"}
        deployed.settle()
        for api in (east, west):
            assert [api.get(f"/fhir/Patient/{name}").json() for name in created] == right


@contextmanager
def undelivered(deployed: Deployed) -> Iterator[Mapping[str, str]]:
    """Create the queue of each region with a notification, and subscribe a receiver."""
    made: list[tuple[Any, str, Any, str]] = []
    body = json.dumps(
        {"Message": json.dumps({"AlarmName": deployed.names.of("peer-unhealthy"), "NewStateValue": "ALARM"})}
    )
    for region, output in zip(REGIONS, ("PrimaryTopicArn", "SecondaryTopicArn"), strict=True):
        sqs, sns = deployed.client("sqs", region), deployed.client("sns", region)
        queue = sqs.create_queue(QueueName=deployed.names.of("undelivered"))["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody=body)
        topic, address = deployed.outputs()[output], deployed.emulator.receiver("endpoint-0")
        sns.subscribe(TopicArn=topic, Protocol="https", Endpoint=address)

        def confirmed(sns: Any = sns, topic: str = topic) -> str:
            (found,) = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
            return str(found["SubscriptionArn"]) if found["SubscriptionArn"].startswith("arn:") else ""

        eventually(partial(lambda found: bool(found()), confirmed))
        made.append((sqs, queue, sns, confirmed()))
    try:
        yield {"HDR_OPERATIONS_ENDPOINTS": "https://pager.example.com/KEY"}
    finally:
        for sqs, queue, sns, subscription in made:
            sqs.delete_queue(QueueUrl=queue)
            sns.unsubscribe(SubscriptionArn=subscription)


@contextmanager
def wrong_clock(deployed: Deployed) -> Iterator[Mapping[str, str]]:
    """Let `/health` of us-west-2 find a wrong clock, without a write. A version is stamped an hour ahead."""
    functions = [deployed.names.of(spec.name) for spec in FUNCTIONS]
    db, table = deployed.client("dynamodb", PRIMARY), deployed.names.records_table
    with apis(deployed) as (east, west):
        created = east.post("/fhir/Patient", json=patient()).raise_for_status().json()
        key = RecordKey(TENANT, PATIENT, created["id"])
        replaced = Stamp.parse(created["meta"]["versionId"])
        assert replaced is not None
        ahead = Stamp(replaced.millis + 3_600_000, 0, PRIMARY)
        version = version_of(created, key=key, stamp=ahead, method=Method.PUT, replaces=replaced)
        for item in (version_item(version), lineage_item(version)):
            db.put_item(TableName=table, Item=item)
        deployed.emulator.set_clock_ahead(SECONDARY, 120, functions=functions)
        try:
            eventually(lambda: west.get("/health").status_code == 503)
        finally:
            deployed.emulator.set_clock_ahead(SECONDARY, 0, functions=functions)
        eventually(lambda: west.post("/fhir/Patient", json=patient()).status_code == 201)
        eventually(lambda: west.get("/health").status_code == 200)
        yield {}
        for api in (west, east):
            current = api.get(f"/fhir/Patient/{created['id']}").raise_for_status()
            match = {"If-Match": current.headers["ETag"]}
            api.put(f"/fhir/Patient/{created['id']}", json=patient(id=created["id"]), headers=match).raise_for_status()
            deployed.settle()


@contextmanager
def apis(deployed: Deployed) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Return clients of both regions with every right of the runbooks' tenant."""
    token = deployed.token(tenant=TENANT)
    with deployed.api(PRIMARY, token) as east, deployed.api(SECONDARY, token) as west:
        yield east, west


INCIDENTS: Mapping[str, Incident] = {
    "automatic-failover": none,
    "planned-failover": none,
    "failback": none,
    "drill": none,
    "conflicting-writes": conflict,
    "lost-documents": lost_documents,
    "total-loss": damaged_table,
    "undelivered-notifications": undelivered,
    "wrong-clock": wrong_clock,
}


FOLDER = ROOT / "docs" / "runbooks"
START = FOLDER / "README.md"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path != START)


@pytest.fixture
def as_it_was(deployed: Deployed) -> Iterator[Deployed]:
    """The platform at ten times the speed of real time. A page that does not restore it fails."""
    deployed.settle_conflicts()
    deployed.emulator.set_time_scale(10)
    before = found(deployed)
    try:
        yield deployed
        assert found(deployed) == before, "the page does not restore the platform"
    finally:
        restore(deployed)


@pytest.mark.requirement("C1", "C6")
@pytest.mark.trap(27)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_runbook_give_its_output(page: Path, as_it_was: Deployed) -> None:
    text = text_of(page)
    typed = list(commands(text))
    assert typed
    if "dig " in text and shutil.which("dig") is None:
        pytest.skip("dig is not installed")
    deployed = as_it_was
    variables = deployed.variables | {"PATH": f"{HDR.parent}:{deployed.variables['PATH']}", "COLUMNS": "160"}
    with INCIDENTS[page.stem](deployed) as own, opened({**variables, **own}) as shell:
        run_commands(shell, list(commands(text_of(START).partition("\n## On AWS")[0])))
        # Draining must work without control planes. A drill denies them itself.
        deployed.emulator.refuse_control_planes(refused=page.stem == "planned-failover")
        try:
            run_commands(shell, typed)
        finally:
            deployed.emulator.refuse_control_planes(refused=False)
