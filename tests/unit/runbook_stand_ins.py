"""What the commands of the runbooks talk to where there is no platform. The command line of AWS is the real one."""

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.runbook_pages import commands
from support.shell import Shell

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
Items = Sequence[dict[str, Any]]


@dataclass
class Aws:
    """`answer` is given an operation (or method and path) and its body; `asked` is what it was given."""

    answer: Callable[[str, Any], str]
    asked: list[tuple[str, Any]] = field(default_factory=list)

    def asked_for(self, operation: str) -> list[Any]:
        return [body for asked, body in self.asked if asked.startswith(operation)]


@contextmanager
def serving(aws: Aws) -> Iterator[dict[str, str]]:
    """The variables of a shell whose `aws` talks to it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
            target = (self.headers.get("X-Amz-Target") or "").rpartition(".")[2]
            operation = target or f"{self.command} {self.path}"
            aws.asked.append((operation, body))
            content = aws.answer(operation, body).encode()
            self.send_response(200 if content else 204)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = do_POST  # noqa: N815 - as the server calls them

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
            "AWS_ACCESS_KEY_ID": "1",
            "AWS_SECRET_ACCESS_KEY": "2",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_OUTPUT": "json",
        }
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def command(page: str, beginning: str, *, on_aws: bool = False) -> str:
    """The page's first command with this beginning."""
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    return next(each.text for each in commands(text, on_aws=on_aws) if each.text.startswith(beginning))


def typed(shell: Shell, page: str, *beginnings: str) -> list[str]:
    """Type these commands; the lines that the last of them answers."""
    told = [shell.run(command(page, beginning)) for beginning in beginnings]
    return [line.strip() for line in told[-1].lines if line]


def logs(*pages: Sequence[int]) -> Aws:
    """A log with events of these times, in milliseconds since 1970."""

    def answer(operation: str, body: Any) -> str:
        page = int(body.get("nextToken", 0))
        more = {"nextToken": str(page + 1)} if page + 1 < len(pages) else {}
        return json.dumps({"events": [{"timestamp": at, "message": "damage"} for at in pages[page]], **more})

    return Aws(answer)


def tables(held: Mapping[str, Items]) -> Aws:
    """Tables that answer a scan item by item; what is written to them is noted alone."""

    def answer(operation: str, body: Any) -> str:
        items = held[body["TableName"]]
        if operation == "Scan":
            place = int(body.get("ExclusiveStartKey", {"pk": {"S": "0"}})["pk"]["S"])
            more = {"LastEvaluatedKey": {"pk": {"S": str(place + 1)}}} if place + 1 < len(items) else {}
            return json.dumps({"Items": items[place : place + 1], **more})
        wanted = (body.get("Key") or {}).items()
        found = next((item for item in items if wanted and wanted <= item.items()), None)
        return json.dumps({"Item": found} if found else {})

    return Aws(answer)


def buckets(deleted: Mapping[str, Sequence[str]]) -> Aws:
    """Versioned buckets with delete markers of these keys; a first page has none."""

    def answer(operation: str, body: Any) -> str:
        method, _, address = operation.partition(" ")
        asked = parse_qs(urlsplit(address).query)
        if method == "DELETE":
            return ""
        if "key-marker" not in asked:
            return _versions("<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>")
        found = [key for key in deleted[urlsplit(address).path[1:]] if key.startswith(asked["prefix"][0])]
        marker = "<DeleteMarker><Key>{}</Key><VersionId>m</VersionId><IsLatest>true</IsLatest></DeleteMarker>"
        return _versions("".join(map(marker.format, found)))

    return Aws(answer)


def _versions(text: str) -> str:
    return f"<ListVersionsResult>{text}</ListVersionsResult>"
