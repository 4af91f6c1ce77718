#!/usr/bin/env python3
"""A job queue: a producer, and workers that share what it asks for. Each job is done until somebody has said so.

python job_queue.py [URL] [JOBS]
"""

import asyncio
import sys

import tidewire


async def produce(client: tidewire.Client, jobs: int) -> None:
    """Asks for thumbnails; the key is what a worker may use to do each once."""
    topic = client.topic("jobs.thumbnails")
    for n in range(jobs):
        await topic.publish({"image": f"img-{n}.png"}, key=f"img-{n}")


async def work(name: str, group: tidewire.ConsumerGroup, done: asyncio.Queue[str]) -> None:
    """Does jobs, a few at a time; one that fails is tried again later."""
    async with group.consume(in_flight=4) as jobs:
        async for job in jobs:
            image = job.record.json()["image"]
            if image.endswith("7.png") and job.deliveries == 1:
                await job.nack(delay_ms=50, reason="not downloaded yet")
                continue
            if await job.ack():
                print(f"{name} has made a thumbnail of {image}")
                done.put_nowait(image)


async def main(url: str, jobs: int) -> None:
    """Runs all of it in one process; it may as well be many."""
    async with tidewire.connect(url) as client:
        group = client.topic("jobs.thumbnails").group("workers")
        await group.create(start="latest", ack_timeout_ms=10_000, deliveries_max=5, dead_letter="jobs.failed")
        done: asyncio.Queue[str] = asyncio.Queue()
        workers = [asyncio.create_task(work(f"worker {n}", group, done)) for n in (1, 2, 3)]
        await produce(client, jobs)
        for _ in range(jobs):
            await done.get()
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        print(f"{jobs} jobs done, {(await group.status()).lag} left")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(arguments[0] if arguments else "ws://127.0.0.1:7171", int((arguments[1:] or ["20"])[0])))
