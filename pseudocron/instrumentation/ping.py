"""Pings a URL when a run starts, succeeds or fails, in the manner of healthchecks.io: the option `ping` of a cron."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from pseudocron.errors import cause
from pseudocron.hooks.events import EventKind
from pseudocron.log import logger

if TYPE_CHECKING:
    from pseudocron.hooks.events import Event

TIMEOUT = 5.0
"""Maximum seconds of a ping."""

MOST = 10_000
"""Maximum bytes of a traceback that are sent, the last ones; healthchecks.io keeps as many."""

_PATHS = {
    EventKind.STARTED: "/start",
    EventKind.SUCCEEDED: "",
    EventKind.FAILED: "/fail",
    EventKind.LOST: "/fail",
}
KINDS = tuple(_PATHS)
"""Events that are sent as pings."""


@dataclass(frozen=True, slots=True)
class Ping:
    """The pings of one cron; called with each event, it blocks until the ping is there.

    Args:
        name: The cron's.
        url: To which `/start` and `/fail` are appended; a secret, which no log holds.
    """

    name: str
    url: str

    def __call__(self, event: Event) -> None:
        """Send one ping; errors are logged."""
        if event.is_job or event.name != self.name:
            return
        body = (event.error or "").encode()[-MOST:]
        request = Request(self._address(event), data=body, method="POST")  # noqa: S310 - the scheme has been checked
        try:
            with urlopen(request, timeout=TIMEOUT):  # noqa: S310 - likewise
                pass
        except (OSError, HTTPException, ValueError) as error:
            logger.warning("%s: the ping of %s did not arrive: %s", self.name, event.kind, cause(error))

    def _address(self, event: Event) -> str:
        """Return the URL of a ping, with the id of the run, by which its start and its end are matched."""
        parts = urlsplit(self.url)
        query = "&".join(filter(None, (parts.query, urlencode({"rid": _uuid(event.run_id)}) if event.run_id else "")))
        return urlunsplit(parts._replace(path=parts.path.rstrip("/") + _PATHS[event.kind], query=query))


def _uuid(run_id: str) -> str:
    """Return the 32 hexadecimal digits of the id of a run as a UUID."""
    lengths = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    return "-".join(run_id[start:end] for start, end in lengths) if len(run_id) == 32 else run_id
