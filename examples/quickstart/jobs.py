"""The application's own functions; pseudocron only calls them."""

import asyncio
import time

from pseudocron import current_run


async def send_reminders() -> None:
    """An async function may use whatever the application's requests use."""
    await asyncio.sleep(0.1)
    print(f"reminders for {current_run().slot:%H:%M:%S} sent")


def accrue_interest() -> None:
    """A sync function blocks its thread and nobody else."""
    time.sleep(0.5)
    print(f"interest up to {current_run().slot:%H:%M:%S} accrued")
