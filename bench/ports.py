"""Select free ports for the embedded AWS of benchmarks and tests."""

import random
import socket
from contextlib import ExitStack
from typing import Final

PORTS: Final = 4
# Below the ephemeral ports of all systems: an outgoing connection could take one of those first.
BLOCKS: Final = range(10_000, 32_000, PORTS)

_given: Final[set[int]] = set()


def free_port() -> int:
    """Return a port that is free together with the three after it, which the embedded AWS takes as well.

    A process never receives a port twice. Ports are chosen at random, so that processes rarely collide.
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
