"""What the browser tests visit: a dashboard for everybody, one behind a password, and a page of somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from dashboard.house import crons_of
from pseudocron.dashboard import BasicAuth, NoAuth, dashboard

if TYPE_CHECKING:
    from starlette.requests import Request

EVIL = """<!doctype html><title>You have won</title>
<form method="post" action="http://127.0.0.1:{port}/crons/cron">
  <input name="name" value="bill"><input name="do" value="pause"><input name="csrf" value="{token}">
  <button>Claim</button>
</form>"""

crons = crons_of(f"file:{Path.cwd() / 'store'}")


async def evil(request: Request) -> HTMLResponse:
    """Another site, by its host, that has even got hold of the token."""
    return HTMLResponse(EVIL.format(port=request.url.port, token=request.query_params["token"]))


app = Starlette(
    routes=[
        Mount("/crons", dashboard(crons, auth=NoAuth())),
        Mount("/locked", dashboard(crons, auth=BasicAuth("ann", "geheim"))),
        Route("/evil", evil),
    ]
)
