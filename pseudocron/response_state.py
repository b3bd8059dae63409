"""State of the response to one request, by the messages that its application has sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Message


class ResponseState:
    """State of the response to an HTTP request, or of a websocket.

    Attributes:
        served: Whether the client has been served: the response is complete, or the websocket is accepted or refused.
        complete: Whether no message can follow.
    """

    def __init__(self) -> None:
        self.served = False
        self.complete = False
        self._trailers = False

    def update(self, message: Message) -> None:
        """Update the state by a message that has been sent."""
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
