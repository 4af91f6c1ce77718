"""Watches: newer values only, from the version that is held, and anew where the history is another one."""

from conftest import Stage
from scripted import UPDATE, WATCH, WATCHING, Link

FULL, DELETED = 1, 2


async def watching(stage: Stage) -> tuple[Link, int]:
    """A watch of a counter that holds version 10 of epoch 1: the number 100."""
    link = await stage.connected()
    await stage.client.say("watch", as_="w", counter="c")
    request = await link.expect(WATCH)
    assert request[3:5] == [1, "c"], request
    await link.send(WATCHING, request[1], request[2], 1, 10)
    await link.send(UPDATE, request[2], 10, FULL, 100)
    await stage.client.hear("value", as_="w", value=100)
    return link, request[2]


async def test_a_watch_shows_newer_values_only(stage: Stage) -> None:
    link, sub = await watching(stage)
    await link.send(UPDATE, sub, 9, FULL, 90)
    await link.send(UPDATE, sub, 11, FULL, 110)
    await stage.client.hear("value", as_="w", value=110)
    assert 90 not in stage.client.all("value", "value")


async def test_a_watch_goes_on_after_a_cut(stage: Stage) -> None:
    link, _ = await watching(stage)
    link.cut()
    again = await stage.welcomed()
    request = await again.expect(WATCH)
    assert request[5] == {"epoch": 1, "version": 10}, "from what it holds"
    await again.send(WATCHING, request[1], request[2], 1, 12)
    await again.send(UPDATE, request[2], 12, FULL, 120)
    await stage.client.hear("value", as_="w", value=120)
    assert stage.client.all("value", "value") == [100, 120]


async def test_a_watch_takes_smaller_versions_of_another_epoch(stage: Stage) -> None:
    link, _ = await watching(stage)
    link.cut()
    again = await stage.welcomed()
    request = await again.expect(WATCH)
    await again.send(WATCHING, request[1], request[2], 2, 3)
    await again.send(UPDATE, request[2], 3, FULL, 30)
    await stage.client.hear("value", as_="w", value=30, version=3)
    again.cut()
    last = await stage.welcomed()
    assert (await last.expect(WATCH))[5] == {"epoch": 2, "version": 3}


async def test_a_watch_says_that_its_cell_is_gone_and_goes_on(stage: Stage) -> None:
    link, sub = await watching(stage)
    await link.send(UPDATE, sub, 11, FULL | DELETED, None)
    await stage.client.hear("value", as_="w", value=None, version=11)
    await link.send(UPDATE, sub, 12, FULL, 1)
    await stage.client.hear("value", as_="w", value=1)
