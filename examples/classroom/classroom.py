"""A teacher switches a classroom's network off; when the lesson ends it comes back by itself."""

import logging
from datetime import UTC, datetime, timedelta

from network import crons, restore_network, switch_off, switched_off
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pseudocron import PseudoCronMiddleware

logging.basicConfig(level=logging.INFO, format="%(message)s")  # a line for each job


async def home(_: Request) -> Response:
    return PlainTextResponse(f"without network: {', '.join(sorted(switched_off())) or 'none'}\n")


async def off(request: Request) -> Response:
    """Answers at once; of several requests of one teacher in a lesson only the last counts."""
    teacher, classroom = request.path_params["teacher"], request.path_params["classroom"]
    minutes = float(request.query_params.get("minutes", 45))
    switch_off(classroom)
    lesson_end = datetime.now(UTC) + timedelta(minutes=minutes)
    await restore_network.options(at=lesson_end, key=f"teacher:{teacher}").defer(classroom=classroom)
    return RedirectResponse("/", status_code=303)


async def on(request: Request) -> Response:
    """The teacher wants it back before the lesson ends: nothing is left to be done then."""
    await restore_network.cancel(key=f"teacher:{request.path_params['teacher']}")
    await restore_network.options().defer(classroom=request.path_params["classroom"])
    return RedirectResponse("/", status_code=303)


app = Starlette(
    routes=[
        Route("/", home),
        Route("/{teacher}/{classroom}/off", off, methods=["POST"]),
        Route("/{teacher}/{classroom}/on", on, methods=["POST"]),
    ]
)
app.add_middleware(PseudoCronMiddleware, crons=crons, ticker=True)
