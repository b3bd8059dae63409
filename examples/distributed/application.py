"""An application on several hosts: its crons and its jobs are in the Redis that all of them share."""

import logging
import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pseudocron import Crons, PseudoCronMiddleware, cron_status, current_run

NAME = os.environ.get("NAME", "host")  # for people to read; nothing depends on it
logging.basicConfig(level=logging.WARNING, format=f"{NAME}: %(message)s")

# PSEUDOCRON_BACKEND names the Redis. Without it each host would keep to itself, in a folder of its own.
crons = Crons()


@crons.every(seconds=2)
async def close_orders() -> None:
    """Every two seconds on one of the hosts, the first one that polls."""
    print(f"{NAME}: orders up to {current_run().slot:%H:%M:%S} closed", flush=True)


@crons.task
async def send_mail(to: str) -> None:
    """On one of the hosts, the first one that has capacity."""
    print(f"{NAME}: mail to {to} sent", flush=True)


async def home(_: Request) -> Response:
    lines = [f"{cron.name}: {cron.runs} runs, {cron.missed} missed" for cron in await cron_status(crons)]
    return PlainTextResponse("\n".join([f"this is {NAME}", *lines, ""]))


async def mail(request: Request) -> Response:
    """Stored when this answers: it will be sent, whatever becomes of this host."""
    to = request.path_params["to"]
    await send_mail.options(key=to).defer(to=to)
    return PlainTextResponse(f"{NAME} will see to it\n", status_code=202)


app = Starlette(routes=[Route("/", home), Route("/mail/{to}", mail, methods=["POST"])])
app.add_middleware(PseudoCronMiddleware, crons=crons, ticker=True)
