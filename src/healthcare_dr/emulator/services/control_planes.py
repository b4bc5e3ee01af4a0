"""Deny calls to control planes, as when us-east-1 fails.

Route 53, IAM and Lambda's control plane respond 503 during that fault. Services that do not depend on us-east-1
continue: invocations, event source mappings, API Gateway, sessions of STS, and the emulator's own calls.

Environments share the embedded AWS. A caller names its environment in its User-Agent header, and is not denied because
of the fault of another environment. A caller without an environment is denied during the fault of any.
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
# The service is in the scope of a request's signature: <key>/<date>/<region>/<service>/aws4_request.
SCOPE = re.compile(r"Credential=[^/,\s]+/\d{8}/[^/,\s]+/([^/,\s]+)/aws4_request")
# The form in which AWS SDKs send an application id.
ENVIRONMENT = re.compile(r"(?:^|\s)app/([a-z0-9-]+)(?:\s|$)")
INVOCATION = re.compile(r"/functions/[^/]+/(invocations|invoke-async|response-streaming-invocations)/?$")
XML_NAMESPACES = {
    "route53": "https://route53.amazonaws.com/doc/2013-04-01/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
}


def install(refuses: Callable[[str], bool], *, secret: str) -> None:
    """Before every request, call `refuses` with the caller's environment. Requests that carry `secret` are never
    denied.
    """
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
    """Return the suffix of the caller's environment; empty when the User-Agent header names none."""
    match = ENVIRONMENT.search(headers.get("user-agent", ""))
    return match[1] if match else ""


def control_plane(method: str, path: str, headers: dict[str, str]) -> str | None:
    """Return the service whose control plane a request calls; None if it cannot be denied."""
    scope = SCOPE.search(headers.get("authorization", ""))
    service = scope[1] if scope else ""
    if service in XML_NAMESPACES:
        return service
    if service == "lambda" and not (method == "POST" and INVOCATION.search(path)):
        return service
    return None


def refusal(service: str, request_id: str) -> Response:
    """Return a 503 response in the format of the service."""
    headers = {"x-amzn-requestid": request_id}
    if service == "lambda":
        headers |= {"Content-Type": "application/json", "x-amzn-errortype": CODE}
        return SERVICE_UNAVAILABLE, headers, json.dumps({"Type": "Service", "Message": MESSAGE}).encode()
    body = (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{XML_NAMESPACES[service]}"><Error><Type>Receiver</Type>'
        f"<Code>{CODE}</Code><Message>{MESSAGE}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    return SERVICE_UNAVAILABLE, headers | {"Content-Type": "text/xml"}, body.encode()
