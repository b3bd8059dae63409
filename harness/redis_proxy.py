"""Stands between a client and a Redis server, loses a reply when told to, and may be pointed at another server."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self


class Proxy:
    """A TCP proxy on a free port.

    Args:
        port: Of the server behind it.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.lost = 0
        """How many replies were lost."""
        self._lose = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.front = int(self._listener.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._listen)]

    @property
    def url(self) -> str:
        """What to name it by."""
        return f"redis://127.0.0.1:{self.front}/0"

    def lose_the_reply_to(self, verb: str) -> None:
        """Break the connection after the next call of this verb has been done, before its client gets the reply."""
        self._lose = b"\r\n" + verb.encode() + b"\r\n"

    def hang_up(self) -> None:
        """Break all connections."""
        for pair in self._pairs:
            for end in pair:
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.port))
        except OSError:
            client.close()
            return
        self._pairs.append((client, server))
        lossy = threading.Event()
        for work in (self._ask, self._reply):
            thread = threading.Thread(target=work, args=(client, server, lossy))
            self._threads.append(thread)
            thread.start()

    def _ask(self, client: socket.socket, server: socket.socket, lossy: threading.Event) -> None:
        with suppress(OSError):
            while asked := client.recv(1 << 20):
                if self._lose and self._lose in asked:
                    self._lose = b""
                    lossy.set()
                server.sendall(asked)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        client.close()

    def _reply(self, client: socket.socket, server: socket.socket, lossy: threading.Event) -> None:
        with suppress(OSError):
            while said := server.recv(1 << 20):
                if lossy.is_set():
                    self.lost += 1
                    break
                client.sendall(said)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        server.close()
