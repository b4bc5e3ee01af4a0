"""A server that answers 200 at once over TLS: `python -m bench.processes.answering PORT FOLDER` until it is terminated.

FOLDER receives `authority.pem`, which clients trust, once it listens.
"""

import ssl
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trustme
import uvicorn

NAME = "api.healthcare-dr-bench.com"

Sending = Callable[[dict[str, Any]], Awaitable[None]]


async def answer(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Sending) -> None:
    """200, whatever is asked."""
    del scope
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


def main(port: int, folder: Path) -> None:
    """Serve."""
    authority = trustme.CA()
    config = uvicorn.Config(answer, "127.0.0.1", port, log_level="critical", lifespan="off")
    config.load()
    config.ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME, "127.0.0.1").configure_cert(config.ssl)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
