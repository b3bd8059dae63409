"""A page that shows its crons' last runs. Each request asks whether a run is due, and is served first."""

import logging
from html import escape
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from pseudocron import CronStatus, PseudoCronMiddleware, cron_status, dashboard
from pseudocron.dashboard import NoAuth

logging.basicConfig(level=logging.INFO, format="%(message)s")  # a line for each run

CRONS = Path(__file__).with_name("crons.py")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>pseudocron quickstart</title>
<style>
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
  table {{ border-collapse: collapse; width: 100%; }}
  th, td {{ text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; }}
</style>
<h1>What has run behind requests</h1>
<table>
  <tr><th>cron<th>schedule<th>last run (UTC)<th>outcome<th>runs<th>failed<th>missed<th>next (UTC)</tr>
  {rows}
</table>
<p><a href="/crons/">The dashboard</a> shows more, and lets you run and pause them.</p>
<p>This page loads itself every 5 seconds; each load is a request. Close it, and nothing runs until the next one.</p>
</html>"""


def row(cron: CronStatus) -> str:
    last = cron.last
    cells = [
        cron.name,
        cron.schedule,
        f"{last.started:%H:%M:%S}" if last else "never",
        (last.outcome or "running") if last else "",
        str(cron.runs),
        str(cron.failures),
        str(cron.missed),
        "due" if cron.due else f"{cron.next:%H:%M:%S}" if cron.next else "",
    ]
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) + "</tr>"


async def home(_: Request) -> HTMLResponse:
    return HTMLResponse(PAGE.format(rows="\n  ".join(map(row, await cron_status(CRONS)))))


app = Starlette(routes=[Route("/", home), Mount("/crons", dashboard(CRONS, auth=NoAuth()))])  # for this machine alone
app.add_middleware(PseudoCronMiddleware, crons=CRONS)
