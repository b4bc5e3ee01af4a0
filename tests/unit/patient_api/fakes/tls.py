"""Servers on loopback that tests serve by hand."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

HOST = "localhost"
Serve = Callable[[socket.socket], None]


class Server:
    """Accepts connections on loopback and runs `serve` for each in a thread."""

    def __init__(self, serve: Serve) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.served = 0
        self._serve = serve
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.served += 1
                Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._serve(connection)


Serving = Callable[[Serve], Server]
