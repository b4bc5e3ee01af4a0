"""Patch Route 53."""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from ministack.services import route53

from healthcare_dr.emulator.patches.replacement import Handler, Response, replaces
from healthcare_dr.emulator.route53.model import CheckStatus

NOT_SIGNED = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b'<GetDNSSECResponse xmlns="https://route53.amazonaws.com/doc/2013-04-01/">'
    b"<Status><ServeSignature>NOT_SIGNING</ServeSignature></Status><KeySigningKeys/></GetDNSSECResponse>"
)


@replaces(route53, "_parse_health_check_config")
def keep_child_health_checks(inner: Callable[[Element], dict[str, Any]], element: Element) -> dict[str, Any]:
    """A calculated health check lost its child checks."""
    config = inner(element)
    if "ChildHealthChecks" in config:
        children = route53._find(element, "ChildHealthChecks")
        config["ChildHealthChecks"] = [(child.text or "").strip() for child in children]
    return config


@replaces(route53, "_build_health_check_el")
def write_xml_booleans(inner: Callable[..., None], parent: Element, check: dict[str, Any]) -> None:
    """The booleans of a health check were written in Python's form (`True`), which clients read as false."""
    config = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in check.get("config", {}).items()
    }
    inner(parent, {**check, "config": config})


@replaces(route53, "handle_request")
async def add_get_dnssec(
    inner: Handler, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Response:
    """GetDNSSEC did not exist, so a zone with `force_destroy` could not be destroyed."""
    zone = re.fullmatch(rf"/{route53.API_VERSION}/hostedzone/([^/]+)/dnssec", path)
    if method != "GET" or zone is None:
        return await inner(method, path, headers, body, query)
    # An unknown zone gets the error of GetHostedZone.
    response = await inner(method, path.removesuffix("/dnssec"), headers, body, query)
    return response if response[0] != 200 else (200, {"Content-Type": "text/xml"}, NOT_SIGNED)


@replaces(route53, "handle_request")
async def add_list_tags_for_resources(
    inner: Handler, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Response:
    """ListTagsForResources did not exist. Like ListTagsForResource, it rejects unknown resources."""
    tagged = re.fullmatch(rf"/{route53.API_VERSION}/tags/([^/]+)", path)
    if method != "POST" or tagged is None:
        return await inner(method, path, headers, body, query)
    request = route53._parse_body(body)
    if request is None:
        answer: Response = route53._error_response("InvalidInput", "Missing or invalid request body.")
        return answer
    kind = tagged[1]
    ids = [(found.text or "").strip() for found in request.iter() if found.tag.endswith("ResourceId")]
    for id in ids:
        check = await inner("GET", f"{path}/{id}", headers, b"", query)
        if check[0] != 200:
            return check

    def build(root: Element) -> None:
        sets = SubElement(root, "ResourceTagSets")
        for id in ids:
            found = SubElement(sets, "ResourceTagSet")
            SubElement(found, "ResourceType").text = kind
            SubElement(found, "ResourceId").text = id
            tags = SubElement(found, "Tags")
            for key, value in route53._tags.get((kind, id), {}).items():
                tag = SubElement(tags, "Tag")
                SubElement(tag, "Key").text = key
                SubElement(tag, "Value").text = value

    response: Response = route53._xml_response("ListTagsForResourcesResponse", build)
    return response


def add_get_health_check_status(plane_checks: Callable[[], Mapping[str, CheckStatus]]) -> None:
    """GetHealthCheckStatus did not exist. It returns the last observations of the data plane's checkers.

    Args:
        plane_checks: returns the status of every check by id.
    """

    @replaces(route53, "handle_request")
    async def handle(
        inner: Handler, method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
    ) -> Response:
        check = re.fullmatch(rf"/{route53.API_VERSION}/healthcheck/([^/]+)/status", path)
        if method != "GET" or check is None:
            return await inner(method, path, headers, body, query)
        # An unknown check gets the error of GetHealthCheck.
        existing = await inner(method, path.removesuffix("/status"), headers, body, query)
        if existing[0] != 200:
            return existing
        # Read from the edge process, without blocking the loop.
        status = (await asyncio.to_thread(plane_checks)).get(check[1])

        def build(root: Element) -> None:
            observations = SubElement(root, "HealthCheckObservations")
            for seen in status.observations if status else ():
                observation = SubElement(observations, "HealthCheckObservation")
                SubElement(observation, "Region").text = seen.region
                SubElement(observation, "IPAddress").text = seen.ip
                report = SubElement(observation, "StatusReport")
                SubElement(report, "Status").text = seen.status
                SubElement(report, "CheckedTime").text = datetime.fromtimestamp(seen.epoch, UTC).isoformat()

        response: Response = route53._xml_response("GetHealthCheckStatusResponse", build)
        return response

    handle()
