"""Install replication with a lag into ministack."""

import json
from typing import Any

from ministack import app

from healthcare_dr.emulator.admin_client import authenticated
from healthcare_dr.emulator.credentials import root_secret
from healthcare_dr.emulator.layout import Layout
from healthcare_dr.emulator.replication.documents import Documents
from healthcare_dr.emulator.replication.queue import ONLY, PATH, Queue
from healthcare_dr.emulator.replication.tables import Tables

Response = tuple[int, dict[str, str], bytes]


def install(layout: Layout) -> Queue:
    """Install it, before the first request. The queue has to be run on the loop that serves."""
    queue = Queue(layout.replication)
    Tables(queue.tables).install()
    Documents(queue.documents).install()
    _drain_before_saving(queue)
    _say_what_waits(queue, root_secret(layout))
    return queue


def _drain_before_saving(queue: Queue) -> None:
    inner = app.save_all

    def save(services: dict[str, Any]) -> None:
        queue.drain()
        inner(services)

    app.save_all = save


def _say_what_waits(queue: Queue, secret: str) -> None:
    inner = app._handle_pre_body_request

    async def handle(
        method: str, path: str, headers: dict[str, str], query: dict[str, Any], request_id: str
    ) -> Response | None:
        if path == PATH and authenticated(headers, secret):
            only = query.get(ONLY, ())
            content = {"pending": queue.pending(only), "waiting_seconds": queue.waiting_seconds(only)}
            return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()
        response: Response | None = await inner(method, path, headers, query, request_id)
        return response

    app._handle_pre_body_request = handle
