"""How far the state to one request has got, by what its application has sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message


class ResponseState:
    """The state to one HTTP request or to one websocket.

    Attributes:
        served: The visitor has been served: he has the whole response, or a websocket is accepted or refused.
        complete: Nothing more can follow.
    """

    def __init__(self) -> None:
        self.served = False
        self.complete = False
        self._trailers = False

    def update(self, message: Message) -> None:
        """Take note of a message that has been sent."""
        match message["type"]:
            case "http.response.start":
                self._trailers = message.get("trailers", False)
            case "http.response.body" | "http.response.zerocopysend" | "websocket.http.response.body":
                self.complete |= not (message.get("more_body", False) or self._trailers)
            case "http.response.pathsend":
                self.complete |= not self._trailers
            case "http.response.trailers":
                self.complete |= not message.get("more_trailers", False)
            case "websocket.close":
                self.complete = True
            case "websocket.accept":
                self.served = True
        self.served |= self.complete
