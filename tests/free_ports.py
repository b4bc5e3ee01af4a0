"""Where tests let an embedded AWS listen."""

import socket
from contextlib import ExitStack


def free_port() -> int:
    """A port that is free together with the three after it, which the embedded AWS takes as well."""
    while True:
        with ExitStack() as bound:
            one = bound.enter_context(socket.socket())
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            try:
                for neighbour in range(port + 1, port + 4):
                    bound.enter_context(socket.socket()).bind(("127.0.0.1", neighbour))
            except (OSError, OverflowError):
                continue
            return port
