"""Control planes that refuse their callers: what us-east-1 takes with it when it fails.

Route 53, IAM and Lambda's control plane answer 503 while that is played. What runs without them goes on: invocations,
stream mappings, API Gateway, sessions of STS, and what the embedded AWS does by itself.

Environments share the embedded AWS. A caller names the one it works for in its User-Agent, and is not refused for the
sake of another; one that names none is refused for the sake of any.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from healthcare_dr.emulator.admin_api import authenticated

Response = tuple[int, dict[str, str], bytes]

SERVICE_UNAVAILABLE = 503
CODE = "ServiceUnavailable"
MESSAGE = "The service is unavailable: a drill refuses control planes"
# The service of a request is in the scope of its signature: <key>/<date>/<region>/<service>/aws4_request.
SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/[^/,\s]+/([^/,\s]+)/aws4_request")
# How SDKs of AWS write the id of an application.
ENVIRONMENT = re.compile(r"(?:^|\s)app/([a-z0-9-]+)(?:\s|$)")
INVOCATION = re.compile(r"/functions/[^/]+/(invocations|invoke-async|response-streaming-invocations)/?$")
XML_NAMESPACES = {
    "route53": "https://route53.amazonaws.com/doc/2013-04-01/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
}


def install(refuses: Callable[[str], bool], *, secret: str) -> None:
    """Before every request, call `refuses` with the caller's environment; a caller that sends `secret` passes."""
    from ministack import app

    inner = app._handle_pre_body_request

    async def handle(
        method: str, path: str, headers: dict[str, str], query: dict[str, Any], request_id: str
    ) -> Response | None:
        service = control_plane(method, path, headers)
        if service is not None and refuses(environment_of(headers)) and not authenticated(headers, secret):
            return refusal(service, request_id)
        response: Response | None = await inner(method, path, headers, query, request_id)
        return response

    app._handle_pre_body_request = handle


def environment_of(headers: dict[str, str]) -> str:
    """The suffix of the environment that a caller works for; empty when it names none."""
    named = ENVIRONMENT.search(headers.get("user-agent", ""))
    return named[1] if named else ""


def control_plane(method: str, path: str, headers: dict[str, str]) -> str | None:
    """The service whose control plane a request goes to, or None where it does not go to one that can be refused."""
    scope = SCOPE.search(headers.get("authorization", ""))
    service = scope[1] if scope else ""
    if service in XML_NAMESPACES:
        return service
    if service == "lambda" and not (method == "POST" and INVOCATION.search(path)):
        return service
    return None


def refusal(service: str, request_id: str) -> Response:
    """503 in the format of the service."""
    headers = {"x-amzn-requestid": request_id}
    if service == "lambda":
        headers |= {"Content-Type": "application/json", "x-amzn-errortype": CODE}
        return SERVICE_UNAVAILABLE, headers, json.dumps({"Type": "Service", "Message": MESSAGE}).encode()
    body = (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{XML_NAMESPACES[service]}"><Error><Type>Receiver</Type>'
        f"<Code>{CODE}</Code><Message>{MESSAGE}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return SERVICE_UNAVAILABLE, headers | {"Content-Type": "text/xml"}, body.encode()
