"""A bell: wakes everybody who waits for something to change, and loses no ring."""

import asyncio


class Bell:
    """Whoever takes `next` before looking at the rows misses no ring that comes after."""

    def __init__(self) -> None:
        self.next = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who took the present event."""
        self.next.set()
        self.next = asyncio.Event()


async def until(rung: asyncio.Event, seconds: float) -> bool:
    """Wait for a ring, but no longer than that; whether it rang."""
    try:
        async with asyncio.timeout(seconds):
            return await rung.wait()
    except TimeoutError:
        return False
