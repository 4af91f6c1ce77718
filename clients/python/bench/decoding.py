#!/usr/bin/env python3
"""What the client alone can take: deliveries from memory, through decoding, to an `async for`.

The worst case is one record in a delivery of its own; a server puts records that come together into one.
"""

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from tidewire import frames as f
from tidewire.codec import encode
from tidewire.records import NewRecord, encode_body
from tidewire.subscription import Subscription
from tidewire.transport import Inflow

DELIVERIES = 20_000


class Grants:
    """Stands where the connection would be: credit goes nowhere."""

    def grant(self, route: Subscription, count: int) -> None:
        """Nothing is sent."""


async def measure(batch: int) -> None:
    """Prints one line."""
    body = encode_body([NewRecord(b"x" * 128)] * batch)
    deliveries = max(DELIVERIES // batch, 1)
    messages = [
        encode(f.Deliver(1, "bench.topic", 5, n * batch, (n + 1) * batch, 1, None, None, body))
        for n in range(deliveries)
    ]
    inflow, records = Inflow(), Subscription(Grants(), "bench.topic", "latest", {})  # type: ignore[arg-type]
    records.started(f.Subscribed(1, 1, 0, 5, 0))
    inflow.attach(records.receive, print)
    began = time.perf_counter()
    count = 0
    for message in messages:
        inflow.message(message)
    async for _ in records:
        count += 1
        if count == deliveries * batch:
            break
    seconds = time.perf_counter() - began
    print(f"{batch:5} records of 128 B in a delivery: {count / seconds:,.0f} records/s")


if __name__ == "__main__":
    for size in (1, 10, 100):
        asyncio.run(measure(size))
