"""A socket in which one thread reads and waits, while any other writes and never waits."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Lock

READABLE = select.POLLIN | select.POLLHUP | select.POLLERR
AT_ONCE = 1 << 16
"""Bytes of one write: while it lasts, as others wait for their turn, it may be on an event loop."""

WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


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
        lock: Held by whoever writes. Two threads must not use one TLS connection at once, so then by the reader too.
        waker: Ends a wait.
        before_waiting: Called by the reader each time before it waits.
        patience: Return the milliseconds to wait, or None for ever; raises if there is nothing to wait for any more.
    """

    def __init__(
        self,
        sock: socket.socket,
        lock: Lock,
        waker: Waker,
        *,
        before_waiting: Callable[[], None],
        patience: Callable[[], float | None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._tls = sock if isinstance(sock, ssl.SSLSocket) else None
        self._lock = lock
        self._waker = waker
        self._before_waiting = before_waiting
        self._patience = patience
        self._unsent = bytearray()
        self._poll = select.poll()
        self._poll.register(waker.fileno(), select.POLLIN)
        self._poll.register(sock.fileno(), select.POLLIN)
        self._fileno = sock.fileno()

    # For writers, who hold the lock

    def write(self, data: bytes) -> bool:
        """Send data, and keep what the socket does not take; return whether the reader must send the rest."""
        if not self._unsent and len(data) <= AT_ONCE:
            try:
                sent = self._sock.send(data)
            except WOULD_BLOCK:
                sent = 0
            except OSError:  # the reader gets the error too
                return False
            if sent == len(data):
                return False
            data = data[sent:]
        self._unsent += data
        return True

    def _write_rest(self) -> None:
        try:
            # TLS wants the same bytes again, or more that begin with them.
            while self._unsent:
                with self._lock:
                    del self._unsent[: self._sock.send(bytes(self._unsent[:AT_ONCE]))]
        except WOULD_BLOCK:
            pass

    # For the reader, which is the client's connection

    def recv(self, size: int) -> bytes:
        """Return what has come; waits until something has."""
        while True:
            self._wait()
            try:
                if self._tls is None:
                    return self._sock.recv(size)
                with self._lock:
                    return self._tls.recv(size)
            except WOULD_BLOCK:
                pass

    def recv_into(self, buffer: bytearray) -> int:
        """Write what has come into a buffer, and return how much; waits until something has."""
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Send all of something while a connection is made; waits."""
        with self._lock:
            self.write(bytes(data))
        while self._unsent:
            self._wait_for(select.POLLOUT)

    def _wait(self) -> None:
        """Wait until there may be something to read, and send the rest of what was written."""
        self._before_waiting()
        if self._tls is not None:
            with self._lock:
                if self._tls.pending():
                    return
        while not self._wait_for(READABLE):
            pass

    def _wait_for(self, wanted: int) -> bool:
        """Wait once, and return whether the socket can do what is wanted."""
        self._poll.modify(self._fileno, select.POLLIN | (select.POLLOUT if self._unsent else 0))
        happened = 0
        for fileno, events in self._poll.poll(self._patience()):
            if fileno == self._fileno:
                happened = events
            else:
                self._waker.clear()
        if happened & select.POLLOUT:
            self._write_rest()
        return bool(happened & (wanted | select.POLLHUP | select.POLLERR))

    def settimeout(self, _seconds: float | None) -> None:
        """Do nothing: how long to wait is said by `patience`."""

    def shutdown(self, how: int) -> None:
        """End the connection, so that a thread that reads stops."""
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
