#!/usr/bin/env python3
"""A job queue: a producer, and workers that share what it asks for. Each job is done until somebody has said so.

A job that fails is tried again; one that fails three times, or that nobody can do, becomes a dead letter.

python job_queue.py [URL] [JOBS]
"""

import asyncio
import sys

import tidewire

DELIVERIES_MAX = 3


async def produce(topic: tidewire.Topic, jobs: int) -> None:
    """Asks for thumbnails; the key is what a worker may use to do each once."""
    images = [f"img-{n}.{'txt' if n == 5 else 'png'}" for n in range(jobs)]
    await topic.publish_many([tidewire.NewRecord({"image": image}, key=image) for image in images])


async def make_thumbnail(image: str, attempt: int) -> None:
    """Stands for the work: some images are not there at first, one never comes, one is none."""
    await asyncio.sleep(0.01)
    if not image.endswith(".png"):
        raise ValueError("this is no image")
    if image == "img-3.png" or (image.endswith("7.png") and attempt == 1):
        raise FileNotFoundError(f"{image} is not uploaded yet")


async def work(name: str, group: tidewire.ConsumerGroup, settled: asyncio.Queue[str]) -> None:
    """Does jobs, a few at a time."""
    async with group.consume(in_flight=4) as jobs:
        async for job in jobs:
            image = job.record.json()["image"]
            try:
                await make_thumbnail(image, job.deliveries)
            except FileNotFoundError as error:
                print(f"{name}: {error}, attempt {job.deliveries}")
                await job.nack(delay_ms=50, reason=str(error))
            except ValueError as error:
                await job.reject(reason=str(error))
            else:
                if await job.ack():
                    print(f"{name} has made a thumbnail of {image}")
                    settled.put_nowait("done")


async def bury(letters: tidewire.Subscription, settled: asyncio.Queue[str]) -> None:
    """Says which jobs were given up, and why; somebody has to look at them."""
    async for record in letters:
        if isinstance(record, tidewire.Record):
            reason, deliveries = record.headers["dead-reason"], record.headers["dead-deliveries"]
            print(f"given up after {deliveries} of {DELIVERIES_MAX} attempts: {record.key}: {reason}")
            settled.put_nowait("given up")


async def main(url: str, jobs: int) -> None:
    """Runs all of it in one process; it may as well be many."""
    async with tidewire.connect(url) as client:
        topic = client.topic("jobs.thumbnails")
        group = topic.group("workers")
        await group.create(
            start="latest", ack_timeout_ms=10_000, deliveries_max=DELIVERIES_MAX, dead_letter="jobs.failed"
        )
        settled: asyncio.Queue[str] = asyncio.Queue()
        async with client.topic("jobs.failed").subscribe() as letters:
            tasks = [asyncio.create_task(work(f"worker {n}", group, settled)) for n in (1, 2, 3)]
            tasks.append(asyncio.create_task(bury(letters, settled)))
            await produce(topic, jobs)
            outcomes = [await settled.get() for _ in range(jobs)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        done, given_up = outcomes.count("done"), outcomes.count("given up")
        status = await group.status()
        print(f"{done} jobs done, {given_up} given up, {status.lag} left, {status.redelivered} tried again")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(arguments[0] if arguments else "ws://127.0.0.1:7171", int((arguments[1:] or ["20"])[0])))
