#!/usr/bin/env python3
"""A live poll: voters vote, and whoever watches sees the count move.

python live_tally.py [URL] [VOTERS]
"""

import asyncio
import random
import sys
import time

import tidewire


async def vote(tally: tidewire.Tally, voters: int) -> None:
    """Each voter has one ballot, and may change it."""
    for n in range(voters):
        await tally.vote(random.choice(["pizza", "salad", "soup"]), voter=f"voter-{n}")
        await asyncio.sleep(0.005)


async def main(url: str, voters: int) -> None:
    """Shows the standings ten times a second, until all have voted."""
    async with tidewire.connect(url) as client:
        tally = client.tally(f"poll.lunch-{time.time_ns()}")
        await tally.create(["pizza", "salad", "soup"])
        voting = asyncio.create_task(vote(tally, voters))
        async with tally.watch(interval_ms=100) as standings:
            async for now in standings:
                if now is None:
                    break
                print("  ".join(f"{option} {count:4}" for option, count in now.by_option.items()))
                if now.ballots == voters:
                    break
        await voting
        print(f"{voters} have voted, the poll is {(await tally.close()).state}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(
        main(arguments[0] if arguments else "ws://127.0.0.1:7171", int((arguments[1:] or ["200"])[0]))
    )
