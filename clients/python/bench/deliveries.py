#!/usr/bin/env python3
"""Deliveries per second: records of 128 bytes to subscribers in one process.

The publishing runs in a process of its own, so that what is measured is the receiving side alone. With
`--batch 1` each record is a publish, and so a delivery, of its own.
"""

import argparse
import asyncio
import cProfile
import multiprocessing
import pstats
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import tidewire

IN_FLIGHT = 512


async def publish(url: str, options: argparse.Namespace) -> None:
    """Publishes all records, many at once."""
    async with tidewire.connect(url, fingerprint=options.fingerprint) as client:
        topic = client.topic(options.topic)
        batch = [tidewire.NewRecord(b"x" * options.bytes) for _ in range(options.batch)]
        left = options.records // options.batch

        async def worker() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await topic.publish_many(batch)

        await asyncio.gather(*(worker() for _ in range(min(IN_FLIGHT, left))))


def publisher(url: str, options: argparse.Namespace) -> None:
    """The process that publishes."""
    asyncio.run(publish(url, options))


async def receive(options: argparse.Namespace) -> tuple[int, float]:
    """Counts what arrives in an `async for`; returns how many records, and in how many seconds."""
    wanted = options.records // options.batch * options.batch
    async with tidewire.connect(options.url, fingerprint=options.fingerprint) as client:
        topic = client.topic(options.topic)
        if options.stored:
            await publish(options.url, options)
        start: tidewire.Start = "earliest" if options.stored else "latest"
        process = multiprocessing.get_context("spawn").Process(target=publisher, args=(options.url, options))
        subscription = topic.subscribe(start)
        count, began = 0, time.perf_counter()
        async with subscription as records, asyncio.timeout(options.timeout_s):
            if not options.stored:
                process.start()
            async for event in records:
                if isinstance(event, tidewire.Gap):
                    raise SystemExit(f"the server has dropped records: {event}")
                if count == 0 and not options.stored:
                    # Until now the other process was starting.
                    began = time.perf_counter()
                count += 1
                if count == wanted:
                    break
            seconds = time.perf_counter() - began
        if not options.stored:
            process.join(30)
        return count, seconds


def main() -> None:
    """Measures once and prints one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--fingerprint")
    parser.add_argument("--topic", default=f"bench.n{time.time_ns()}")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--stored", action="store_true", help="publish first, then read from the beginning")
    parser.add_argument("--timeout-s", type=float, default=120)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    count, seconds = asyncio.run(receive(options))
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
    print(f"{count:,} records of {options.bytes} B in {seconds:.2f} s: {count / seconds:,.0f} deliveries/s")


if __name__ == "__main__":
    main()
