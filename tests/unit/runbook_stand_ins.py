"""Fakes of AWS for the commands of the runbooks. The command line of AWS is the real one."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.runbook_pages import commands
from support.shell import Shell
from unit.http_server import Request, Response, http_server

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
Items = Sequence[dict[str, Any]]


@dataclass
class Aws:
    """AWS. `respond` returns the response to an operation (or method and path) with its body."""

    respond: Callable[[str, Any], str]
    requests: list[tuple[str, Any]] = field(default_factory=list)

    def bodies_of(self, operation: str) -> list[Any]:
        return [body for name, body in self.requests if name.startswith(operation)]


@contextmanager
def serving(aws: Aws) -> Iterator[dict[str, str]]:
    """Run a server, and yield the environment variables of a shell whose `aws` uses it."""

    def respond(request: Request) -> Response:
        body = json.loads(request.body or "null")
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2] or f"{request.method} {request.path}"
        aws.requests.append((operation, body))
        content = aws.respond(operation, body).encode()
        return Response(200 if content else 204, content)

    with http_server(respond) as url:
        yield {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "1",
            "AWS_SECRET_ACCESS_KEY": "2",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_OUTPUT": "json",
        }


def command(page: str, beginning: str, *, on_aws: bool = False) -> str:
    """Return a page's first command with this beginning."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return next(each.text for each in commands(text, on_aws=on_aws) if each.text.startswith(beginning))


def typed(shell: Shell, page: str, *beginnings: str) -> list[str]:
    """Run a page's commands, and return the lines that the last one prints."""
    results = [shell.run(command(page, beginning)) for beginning in beginnings]
    return [line.strip() for line in results[-1].lines if line]


def logs(*pages: Sequence[int]) -> Aws:
    """Return a log with events at these times, in milliseconds since 1970."""

    def respond(operation: str, body: Any) -> str:
        page = int(body.get("nextToken", 0))
        more = {"nextToken": str(page + 1)} if page + 1 < len(pages) else {}
        return json.dumps({"events": [{"timestamp": at, "message": "damage"} for at in pages[page]], **more})

    return Aws(respond)


def tables(held: Mapping[str, Items]) -> Aws:
    """Return tables whose scans have pages of one item. Writes are recorded, but change nothing."""

    def respond(operation: str, body: Any) -> str:
        items = held[body["TableName"]]
        if operation == "Scan":
            place = int(body.get("ExclusiveStartKey", {"pk": {"S": "0"}})["pk"]["S"])
            more = {"LastEvaluatedKey": {"pk": {"S": str(place + 1)}}} if place + 1 < len(items) else {}
            return json.dumps({"Items": items[place : place + 1], **more})
        wanted = (body.get("Key") or {}).items()
        found = next((item for item in items if wanted and wanted <= item.items()), None)
        return json.dumps({"Item": found} if found else {})

    return Aws(respond)


def buckets(deleted: Mapping[str, Sequence[str]]) -> Aws:
    """Return versioned buckets with delete markers of these keys, which are not on the first page."""

    def respond(operation: str, body: Any) -> str:
        method, _, address = operation.partition(" ")
        query = parse_qs(urlsplit(address).query)
        if method == "DELETE":
            return ""
        if "key-marker" not in query:
            return _versions("<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>")
        found = [key for key in deleted[urlsplit(address).path[1:]] if key.startswith(query["prefix"][0])]
        marker = "<DeleteMarker><Key>{}</Key><VersionId>m</VersionId><IsLatest>true</IsLatest></DeleteMarker>"
        return _versions("".join(map(marker.format, found)))

    return Aws(respond)


def _versions(text: str) -> str:
    return f"<ListVersionsResult>{text}</ListVersionsResult>"
