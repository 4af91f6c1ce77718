"""Presence: declared again after a cut, as long as it was wanted and allowed."""

from conftest import Stage
from scripted import ERROR, GET, OK, PRESENCE, PUBACK, PUBLISH, UPDATE, VALUE, WATCH, WATCHING, Link

FORBIDDEN, PRESENCE_CELL, FULL = 13, 4, 1


async def joined(stage: Stage) -> Link:
    """A client that stands for ann."""
    link = await stage.connected()
    await stage.client.say("presence_join", as_="ann", presence="room", data="seat 4")
    request = await link.expect(PRESENCE)
    assert request[2:6] == [0, "room", "ann", b"seat 4"], request
    await link.send(OK, request[1])
    await stage.client.hear("done", as_="ann")
    return link


async def nobody_is_declared(stage: Stage) -> None:
    """On the next connection the first that comes is something else."""
    link = await stage.welcomed()
    await stage.client.say("publish", as_="p", topic="a.b", payload="x")
    request = await link.expect(PUBLISH)
    await link.send(PUBACK, request[1], 1, 0, 1)
    await stage.client.hear("done", as_="p")


async def test_a_member_is_declared_again_after_a_cut(stage: Stage) -> None:
    link = await joined(stage)
    link.cut()
    again = await stage.welcomed()
    request = await again.expect(PRESENCE)
    assert request[2:6] == [0, "room", "ann", b"seat 4"], request
    await again.send(OK, request[1])
    again.cut()
    last = await stage.welcomed()
    assert (await last.expect(PRESENCE))[2:6] == [0, "room", "ann", b"seat 4"]


async def test_who_has_left_is_not_declared_again(stage: Stage) -> None:
    link = await joined(stage)
    await stage.client.say("presence_leave", as_="l", presence="room", member="ann")
    request = await link.expect(PRESENCE)
    assert request[2:5] == [1, "room", "ann"], request
    await link.send(OK, request[1])
    await stage.client.hear("done", as_="l")
    link.cut()
    await nobody_is_declared(stage)


async def test_a_join_that_was_refused_is_not_said_again(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("presence_join", as_="ann", presence="room")
    request = await link.expect(PRESENCE)
    await link.send(ERROR, request[1], FORBIDDEN, "no rule allows that")
    assert (await stage.client.hear("failed", as_="ann"))["code"] == "forbidden"
    link.cut()
    await nobody_is_declared(stage)


async def test_members_are_read(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("presence_members", as_="m", presence="room")
    request = await link.expect(GET)
    assert request[2:4] == [PRESENCE_CELL, "room"], request
    await link.send(VALUE, request[1], PRESENCE_CELL, 1, 9, [["ann", 8, b"seat 4"], ["bob", 9, b""]])
    done = await stage.client.hear("done", as_="m")
    assert done["value"] == {"ann": "seat 4", "bob": ""}, done


async def test_changes_of_members_are_merged_and_a_full_update_replaces_all(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("watch", as_="w", presence="room")
    request = await link.expect(WATCH)
    sub = request[2]
    await link.send(WATCHING, request[1], sub, 1, 2)
    await link.send(UPDATE, sub, 2, FULL, [["ann", 1, b"a"], ["bob", 2, b"b"]])
    await stage.client.hear("value", as_="w", value={"ann": "a", "bob": "b"})
    await link.send(UPDATE, sub, 4, 0, [["ann", 3, None], ["cid", 4, b"c"]])
    await stage.client.hear("value", as_="w", value={"bob": "b", "cid": "c"})
    await link.send(UPDATE, sub, 5, FULL, [["dee", 5, b"d"]])
    await stage.client.hear("value", as_="w", value={"dee": "d"})
