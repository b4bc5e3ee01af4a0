"""Where benchmarks and tests let an embedded AWS listen."""

import random
import socket
from contextlib import ExitStack
from typing import Final

PORTS: Final = 4
# Below what any system gives to outgoing connections: one of those could take a port before the embedded AWS does.
BLOCKS: Final = range(10_000, 32_000, PORTS)

_given: Final[set[int]] = set()


def free_port() -> int:
    """Return a port that is free together with the three after it, which the embedded AWS takes as well.

    No call gives what an earlier one has given. Processes choose at random, so that they seldom meet.
    """
    while True:
        port = random.SystemRandom().choice(BLOCKS)
        if port in _given:
            continue
        with ExitStack() as bound:
            try:
                for number in range(port, port + PORTS):
                    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                        bound.enter_context(socket.socket(type=kind)).bind(("127.0.0.1", number))
            except OSError:
                continue
        _given.add(port)
        return port
