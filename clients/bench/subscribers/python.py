"""One subscriber in Python: python subscribers/python.py CLIENT READ URL TOPIC BACKLOG BACKLOGS."""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

#: It is looked at the count once in so many messages. A power of two.
STEP = 1_024
PAYLOAD_BYTES = 128


def ready_seconds() -> float:
    """How long this thread could have run and another one had its processor."""
    return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9


class Meter:
    """Counts what a subscriber takes, says what it has cost whenever it has a whole backlog."""

    def __init__(self, backlog: int, backlogs: int) -> None:
        #: A multiple of the step.
        self._backlog = backlog
        self._all = backlog * backlogs
        self._count = self._bytes = 0

    def ready(self) -> None:
        """The subscription stands: publishing may begin."""
        print(json.dumps({"ready": True}), flush=True)

    def take(self, payload_bytes: int) -> None:
        """A message was delivered to the application."""
        self._bytes += payload_bytes
        self._count += 1
        if not self._count & (STEP - 1):
            self._look()

    def _look(self) -> None:
        if self._count % self._backlog:
            return
        if self._bytes != self._count * PAYLOAD_BYTES:
            sys.exit(f"{self._count} messages had {self._bytes} bytes, not {PAYLOAD_BYTES} each")
        costs = {"cpu_seconds": time.process_time(), "ready_seconds": ready_seconds()}
        print(json.dumps(costs), flush=True)
        if self._count == self._all:
            os._exit(0)


async def tidewire(read: str, url: str, topic: str, meter: Meter) -> None:
    """This repository's client: `iterate` record by record, `batch` delivery by delivery."""
    import tidewire

    async with tidewire.connect(url) as client, client.topic(topic).subscribe() as records:
        meter.ready()
        if read == "batch":
            while True:
                for record in await records.next_batch():
                    meter.take(len(record.payload or b""))
        async for event in records:
            if isinstance(event, tidewire.Gap):
                sys.exit(f"records are missing: {event}")
            meter.take(len(event.payload or b""))


async def nats(read: str, url: str, topic: str, meter: Meter) -> None:
    """nats-py over WebSocket."""
    import nats

    async def failed(error: Exception) -> None:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)

    async def take(message: Any) -> None:
        meter.take(len(message.data))

    connection = await nats.connect(url, error_cb=failed, allow_reconnect=False)
    subscription = await connection.subscribe(topic, cb=take if read == "callback" else None)
    await connection.flush()
    meter.ready()
    if read == "iterate":
        async for message in subscription.messages:
            meter.take(len(message.data))
    await asyncio.Event().wait()


def main() -> None:
    client, read, url, topic, backlog, backlogs = sys.argv[1:]
    meter = Meter(int(backlog), int(backlogs))
    asyncio.run({"tidewire": tidewire, "nats": nats}[client](read, url, topic, meter))


main()
