"""Speaks TLS in front of a Redis server: not every build of it can."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CERTIFICATES = Path(__file__).parent / "certificates"
"""Of an authority of our own, for localhost; they end in a hundred years. The key of the authority is not kept: to make
others, make all of them, by `openssl req -x509` and `openssl x509 -req -CA`."""


@contextmanager
def tls(port: int, *, asks: bool = False) -> Iterator[int]:
    """Relay from a free port, which is yielded, to a server.

    Args:
        port: Of the server.
        asks: Whether a client must show a certificate.
    """
    context = _context(asks=asks)
    runner, end = asyncio.Runner(), asyncio.Event()

    async def relay(client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on(client, to_server), _pass_on(server, to_client))

    async def serve() -> None:
        with suppress(asyncio.CancelledError):
            async with listener:
                await end.wait()

    with runner:
        listener = runner.run(asyncio.start_server(relay, "127.0.0.1", 0, ssl=context))
        runner.get_loop().set_exception_handler(lambda *_: None)  # what clients do wrong is theirs to tell
        thread = threading.Thread(target=runner.run, args=(serve(),))
        thread.start()
        try:
            yield int(listener.sockets[0].getsockname()[1])
        finally:
            runner.get_loop().call_soon_threadsafe(end.set)
            thread.join()


@contextmanager
def refusing() -> Iterator[int]:
    """Yield a port where a client without a certificate is told so, as by Redis; the relay hangs up before that."""
    context, listener = _context(asks=True), socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, suppress(OSError):
                    with suppress(ssl.SSLError):
                        context.wrap_socket(client.dup(), server_side=True)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1 << 16):
                        pass

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _context(*, asks: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=CERTIFICATES / "ca.pem")
    context.load_cert_chain(CERTIFICATES / "server.pem", CERTIFICATES / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED if asks else ssl.CERT_NONE
    return context


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while said := await reader.read(1 << 16):
            writer.write(said)
            await writer.drain()
    writer.close()
