"""The protocol of a Redis server, as redis-py's plain client speaks it: handshake, TLS, encoding, parsing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from pseudocron.backends.redis.client import ANSWER

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Mapping

    from redis import Redis

    from pseudocron.backends.redis.calls import Request
    from pseudocron.backends.redis.duplex import Duplex


class Protocol:
    """One connection at a time, as the client would make it, but on a socket of ours.

    Args:
        client: The client. Its own connections are not used.
        on_socket: Makes the socket of ours from one that is connected.
    """

    def __init__(self, client: Redis, on_socket: Callable[[socket.socket], Duplex]) -> None:
        self._client = client  # the connections of sentinels hold its pool only weakly
        self._parsers: Mapping[Any, Any] = client.response_callbacks
        pool = client.connection_pool
        self._options, base = pool.connection_kwargs, pool.connection_class
        self._class = type(base.__name__, (base,), {"_connect": lambda one: self._on_our_socket(base._connect(one))})
        self._on_socket = on_socket
        self._made: list[Duplex] = []
        self._packer = self._connection = self._class(**self._options)

    @property
    def silence(self) -> float:
        """Seconds after which a server that says nothing is given up."""
        return float(self._packer.socket_timeout or ANSWER)

    def pack(self, words: Iterable[str | int]) -> bytes:
        """Return a command, as it is sent; from any thread."""
        return b"".join(self._packer.pack_command(*words))

    def connect(self) -> Duplex:
        """Connect and shake hands; blocks."""
        self._connection = self._class(**self._options)
        self._connection.connect()
        return self._made[0]

    def _on_our_socket(self, sock: socket.socket) -> Duplex:
        self._made = [self._on_socket(sock)]
        return self._made[0]

    def disconnect(self) -> None:
        """Disconnect, also where there is no connection, or half of one."""
        self._connection.disconnect()

    def read(self) -> Any:
        """Return the next answer, or the error in its place.

        Raises:
            NothingYetError: It has not come, or not all of it.
            RedisError: The connection is broken.
        """
        try:
            return self._connection.read_response(disconnect_on_error=False)
        except ResponseError as error:
            return error

    def parse(self, request: Request, answer: Any) -> Any:
        """Return what an answer means to the caller, or the error in its place."""
        if isinstance(answer, Exception):
            return answer
        parse: Callable[[Any], Any] | None = self._parsers.get(request.words[0])
        try:
            return request.read(parse(answer) if parse else answer)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return error
