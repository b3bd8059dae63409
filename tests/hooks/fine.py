"""A cron whose runs hooks are told of."""

from __future__ import annotations

from pseudocron.crons import Crons


def fine_every_minute() -> Crons:
    crons = Crons()

    @crons.every(60)
    async def fine() -> None:
        pass

    return crons
