#!/usr/bin/env python3
"""A ticker: 10,000 price changes a second come in, and the screen shows the newest prices ten times a second.

The server leaves out what is out of date; the last line says how much, and how old the oldest price on a screen was.

python ticker.py [URL] [SECONDS]
"""

import asyncio
import random
import sys
import time
from dataclasses import dataclass

import tidewire

SYMBOLS = ("TIDE", "WAVE", "REEF", "SURF", "MOON")
UPDATES_PER_SECOND = 10_000
SHOWN_PER_SECOND = 10
BATCH = 100


async def trade(topic: tidewire.Topic, seconds: float) -> int:
    """Publishes price changes at a steady rate; returns how many."""
    prices = dict.fromkeys(SYMBOLS, 100.0)
    published, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        while published < passed * UPDATES_PER_SECOND:
            changes = []
            for _ in range(BATCH):
                symbol = random.choice(SYMBOLS)
                prices[symbol] *= 1 + random.uniform(-0.001, 0.001)
                change = {"price": round(prices[symbol], 2), "atMs": time.time() * 1000}
                changes.append(tidewire.NewRecord(change, key=symbol))
            await topic.publish_many(changes)
            published += BATCH
        await asyncio.sleep(0.005)
    return published


@dataclass
class Shown:
    """What was on the screen."""

    screens: int = 0
    updates: int = 0
    oldest_ms: float = 0.0


async def show(prices: tidewire.Subscription, shown: Shown) -> None:
    """The server sends the newest record of each symbol, at most ten times a second."""
    screen: dict[str, float] = {}
    while True:
        for record in await prices.next_batch():
            change = record.json()
            screen[record.key or ""] = change["price"]
            shown.updates += 1
            shown.oldest_ms = max(shown.oldest_ms, time.time() * 1000 - change["atMs"])
        shown.screens += 1
        print("  ".join(f"{symbol} {price:7.2f}" for symbol, price in sorted(screen.items())))


async def main(url: str, seconds: float) -> None:
    """Trades and shows for some seconds."""
    async with tidewire.connect(url) as client:
        topic = client.topic("ticker.prices")
        shown = Shown()
        every = 1000 // SHOWN_PER_SECOND
        async with topic.subscribe(latest_per_key=True, interval_ms=every) as prices:
            showing = asyncio.create_task(show(prices, shown))
            published = await trade(topic, seconds)
            # The last changes come with the next screen.
            await asyncio.sleep(2 / SHOWN_PER_SECOND)
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
        conflated = published - shown.updates
        print(f"{published:,} updates published, {shown.updates:,} shown, {conflated:,} conflated")
        rates = f"{published / seconds:,.0f} updates/s in, {shown.screens / seconds:.1f} screens/s out"
        print(f"{rates}, over {seconds:g} s; the oldest update shown was {shown.oldest_ms:.0f} ms old")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(arguments[0] if arguments else "ws://127.0.0.1:7171", float((arguments[1:] or ["5"])[0]))
    )
