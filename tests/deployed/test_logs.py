"""The contents of the log groups after the traffic of the other tests."""

import json

import httpx
import pytest

from support.platform import MARKS, REGIONS, Deployed, patient

# Runs once for the deployment of each worker, after all other tests that use it.
pytestmark = pytest.mark.parametrize("number", [pytest.param(number, id=f"deployment-{number}") for number in range(2)])


def groups(deployed: Deployed, region: str) -> list[str]:
    pages = deployed.client("logs", region).get_paginator("describe_log_groups").paginate()
    return [group["logGroupName"] for page in pages for group in page["logGroups"]]


@pytest.mark.trap(42)
@pytest.mark.requirement("C5", "C6")
def test_no_log_group_contains_patient_data(deployed: Deployed, apis: dict[str, httpx.Client], number: int) -> None:
    read = 0
    for region in REGIONS:
        # These requests make the test meaningful when it runs alone.
        made = apis[region].post("/fhir/Patient", json=patient())
        assert made.status_code == 201
        apis[region].get("/fhir/Patient", params={"family": MARKS[0], "identifier": MARKS[2]})
        apis[region].post("/fhir/Patient", json=patient(gender=MARKS[0]))
        apis[region].get(f"/fhir/Patient/{MARKS[0]}")
        found = groups(deployed, region)
        assert deployed.names.lambda_log_group(deployed.names.of("patient-api")) in found
        for group in found:
            for line in deployed.log_messages(region, group):
                read += 1
                assert not [mark for mark in MARKS if mark in line], group
                assert made.json()["id"] not in line or "reconcil" in group or "confirmation" in group, group
    assert read > 10


@pytest.mark.requirement("C5")
def test_each_request_logs_its_route(deployed: Deployed, apis: dict[str, httpx.Client], number: int) -> None:
    for region in REGIONS:
        assert_calls_are_logged(deployed, apis, region)


def assert_calls_are_logged(deployed: Deployed, apis: dict[str, httpx.Client], region: str) -> None:
    apis[region].post("/fhir/Patient", json=patient())
    group = deployed.names.lambda_log_group(deployed.names.of("patient-api"))
    calls = [json.loads(line) for line in deployed.log_messages(region, group) if '"message":"call"' in line]
    assert {"POST /fhir/Patient 201"} <= {f"{call['method']} {call['route']} {call['status']}" for call in calls}
