"""Credit: the client lets the server send as much as it reads, and never more than its window."""

import asyncio

from conftest import Stage
from scripted import CREDIT, PUBACK, PUBLISH, SUBSCRIBE, SUBSCRIBED, Link, body

TOPIC, WINDOW = "a.b", 1_000
TEXT = "x" * 95
SIZE = len(body(TEXT))


async def subscribed(stage: Stage, **how: object) -> tuple[Link, int]:
    """A subscription with a window of ten deliveries, from offset 0."""
    link = await stage.connected()
    await stage.client.say("subscribe", as_="s", topic=TOPIC, start="latest", credit=WINDOW, **how)
    request = await link.subscribed()
    assert SIZE == 100 and request[5]["credit"] == WINDOW, request
    return link, request[2]


async def test_a_window_that_is_filled_opens_again_as_it_is_read(stage: Stage) -> None:
    link, sub = await subscribed(stage)
    credit, sent = WINDOW, 0
    for offset in range(60):
        while credit <= 0:
            frame = await link.expect(CREDIT)
            assert frame[1] == sub and frame[2] > 0, frame
            credit += frame[2]
            assert credit <= WINDOW, "more than the window"
        await link.deliver(sub, TOPIC, 1, offset, TEXT)
        credit, sent = credit - SIZE, sent + SIZE
    await stage.client.hear("record", as_="s", offset=59)
    assert stage.client.all("record", "offset") == list(range(60))


async def test_what_is_not_read_gets_no_credit(stage: Stage) -> None:
    link, sub = await subscribed(stage, hold=True)
    for offset in range(10):
        await link.deliver(sub, TOPIC, 1, offset, TEXT)
    # Who publishes has taken what came before, in the transport at least.
    for label in ("p1", "p2"):
        await stage.client.say("publish", as_=label, topic=TOPIC, payload="x")
        request = await link.expect(PUBLISH)
        await link.send(PUBACK, request[1], 1, 0, 1)
        await stage.client.hear("done", as_=label)
    await stage.client.say("read", as_="s")
    await stage.client.hear("record", as_="s", offset=9)
    given = 0
    while given < WINDOW * 3 // 4:
        given += (await link.expect(CREDIT))[2]
    assert given <= WINDOW, "more than was read"


async def test_what_is_unread_counts_against_the_window_of_the_next_connection(stage: Stage) -> None:
    link, sub = await subscribed(stage, hold=True)
    for offset in range(6):
        await link.deliver(sub, TOPIC, 1, offset, TEXT)
    # The client says behind which record it goes on, so it is known how much had arrived.
    while True:
        link.cut()
        link = await stage.welcomed()
        request = await link.expect(SUBSCRIBE)
        arrived = request[4][2]
        assert request[5]["credit"] == WINDOW - arrived * SIZE, request
        sub = request[2]
        await link.send(SUBSCRIBED, request[1], sub, 1, 1, arrived)
        if arrived == 6:
            break
        for offset in range(arrived, 6):
            await link.deliver(sub, TOPIC, 1, offset, TEXT)
        await asyncio.sleep(0)
    await stage.client.say("read", as_="s")
    await stage.client.hear("record", as_="s", offset=5)
    assert stage.client.all("record", "offset") == list(range(6))
