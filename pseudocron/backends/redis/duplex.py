"""A socket that some read and others write, where only the thread that looks after it ever waits."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

AT_ONCE = 1 << 16
"""Bytes of one write: while it lasts, as others wait for their turn, it may be on an event loop."""

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
FAILED = select.POLLHUP | select.POLLERR


class NothingYetError(Exception):
    """An answer has not come, or not all of it."""


class Waker:
    """Ends the waiting of a thread from any other."""

    def __init__(self) -> None:
        self._reads, self._writes = socket.socketpair()
        self._reads.setblocking(False)
        self._writes.setblocking(False)

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._reads.fileno()

    def wake(self) -> None:
        """End the waiting, or the next one if there is none; does not block."""
        with suppress(OSError):  # full, so that it will be woken; or closed
            self._writes.send(b"!")

    def wait(self) -> None:
        """Wait until it is woken."""
        waiting = select.poll()
        waiting.register(self._reads, select.POLLIN)
        waiting.poll()
        self.clear()

    def clear(self) -> None:
        """Let the next waiting wait."""
        with suppress(BlockingIOError):
            self._reads.recv(4096)

    def close(self) -> None:
        """Release the descriptors."""
        self._reads.close()
        self._writes.close()


class Duplex:
    """A connected socket, as the client's connection uses it.

    Args:
        sock: The socket; with TLS or without.
        lock: Held by whoever writes. Two threads must not use one TLS connection at once, so then by readers too.
        waker: Ends a wait.
        patience: Return the milliseconds to wait while the connection is made; raises when it is over.
    """

    def __init__(self, sock: socket.socket, lock: Lock, waker: Waker, patience: Callable[[], float]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._is_tls = isinstance(sock, ssl.SSLSocket)
        self._lock = lock
        self._waker = waker
        self._patience = patience
        self._is_made = False
        self._unsent = bytearray()
        self._fileno = sock.fileno()
        self._poll = select.poll()
        self._poll.register(waker.fileno(), select.POLLIN)
        self._poll.register(self._fileno, 0)

    # For writers, who hold the lock

    def write(self, data: bytes) -> bool:
        """Send data, and keep what the socket does not take; return whether the thread must send the rest."""
        if not self._unsent and len(data) <= AT_ONCE:
            try:
                sent = self._sock.send(data)
            except WOULD_BLOCK:
                sent = 0
            except OSError:  # readers get the error too
                return False
            if sent == len(data):
                return False
            data = data[sent:]
        self._unsent += data
        return True

    # For readers, one at a time

    def recv(self, size: int) -> bytes:
        """Return what has come.

        Raises:
            NothingYetError: Nothing has; while the connection is made it waits instead.
        """
        while True:
            try:
                if not self._is_tls:
                    return self._sock.recv(size)
                with self._lock:
                    return self._sock.recv(size)
            except WOULD_BLOCK:
                if self._is_made:
                    raise NothingYetError from None
            self.wait(self._patience(), reads=True)

    def recv_into(self, buffer: bytearray) -> int:
        """Write what has come into a buffer, and return how much."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    # For the thread

    def made(self) -> None:
        """Let readers wait no more."""
        self._is_made = True

    def sendall(self, data: bytes) -> None:
        """Send all of something while the connection is made."""
        with self._lock:
            self.write(bytes(data))
        while self._unsent:
            self.wait(self._patience())

    def wait(self, milliseconds: float | None, *, reads: bool = False) -> bool:
        """Wait until it is woken, and send the rest of what was written.

        Args:
            milliseconds: How long to wait at most; None for ever.
            reads: Whether to wait for something to read too.

        Returns:
            Whether there is something to read; it may be the end.
        """
        self._poll.modify(self._fileno, (select.POLLIN if reads else 0) | (select.POLLOUT if self._unsent else 0))
        happened = 0
        for fileno, events in self._poll.poll(milliseconds):
            if fileno == self._fileno:
                happened = events
            else:
                self._waker.clear()
        if happened & select.POLLOUT:
            self._write_rest()
        return bool(happened & (select.POLLIN | FAILED))

    def _write_rest(self) -> None:
        try:
            # TLS wants the same bytes again, or more that begin with them.
            while self._unsent:
                with self._lock:
                    del self._unsent[: self._sock.send(bytes(self._unsent[:AT_ONCE]))]
        except WOULD_BLOCK:
            pass

    def settimeout(self, _seconds: float | None) -> None:
        """Do nothing: `patience` says how long to wait."""

    def shutdown(self, how: int) -> None:
        """End the connection, so that whoever reads gets its end."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Release the descriptor."""
        self._sock.close()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fileno

    def getpeername(self) -> object:
        """Return the address of the server."""
        return self._sock.getpeername()

    def getsockname(self) -> object:
        """Return the address of this end."""
        return self._sock.getsockname()
