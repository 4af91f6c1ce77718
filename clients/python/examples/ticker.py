#!/usr/bin/env python3
"""A ticker: 10,000 price changes a second come in, and the screen shows the newest prices ten times a second.

python ticker.py [URL] [SECONDS]
"""

import asyncio
import random
import sys
import time

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
                changes.append(tidewire.NewRecord(f"{prices[symbol]:.2f}", key=symbol))
            await topic.publish_many(changes)
            published += BATCH
        await asyncio.sleep(0.005)
    return published


async def show(topic: tidewire.Topic, shown: list[float]) -> None:
    """The server sends the newest record of each symbol, at most ten times a second."""
    prices: dict[str, str] = {}
    async with topic.subscribe(latest_per_key=True, interval_ms=1000 // SHOWN_PER_SECOND) as records:
        while True:
            for record in await records.next_batch():
                prices[record.key or ""] = record.text
            shown.append(time.monotonic())
            print("  ".join(f"{symbol} {price:>7}" for symbol, price in sorted(prices.items())))


async def main(url: str, seconds: float) -> None:
    """Trades and shows for some seconds."""
    async with tidewire.connect(url) as client:
        topic = client.topic("ticker.prices")
        shown: list[float] = []
        showing = asyncio.create_task(show(topic, shown))
        published = await trade(topic, seconds)
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        rates = f"{published / seconds:,.0f} updates/s in, {len(shown) / seconds:.1f} screens/s out"
        print(f"{rates}, over {seconds:g} s")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(arguments[0] if arguments else "ws://127.0.0.1:7171", float((arguments[1:] or ["5"])[0]))
    )
