"""A node that asks its clients to go to another one: nothing is lost on the way, and nothing comes twice."""

import asyncio

from conftest import Stage
from scripted import COUNTED, GOAWAY, INCR, OK, PRODUCER, PUBACK, PUBLISH, VOTE, VOTED, Link

TOPIC, MOVED, SHUTTING_DOWN = "a.b", 38, 35
HERE, THERE = [1, 7], [2, 3]


async def subscribed(stage: Stage) -> tuple[Link, int]:
    """A subscription on one node of a cluster, which has had the record 10."""
    await stage.connect()
    link = await stage.server.accept()
    hello = await link.welcome(actor=HERE)
    assert "move" in hello[2], hello
    await stage.client.hear("state", state="connected")
    await stage.client.say("subscribe", as_="s", topic=TOPIC, start="latest")
    sub = (await link.subscribed(epoch=1, offset=10))[2]
    await link.deliver(sub, TOPIC, 1, 10, "ten")
    await stage.client.hear("record", as_="s", offset=10)
    return link, sub


async def voted(stage: Stage, link: Link, label: str) -> None:
    """A request that is answered here."""
    await stage.client.say("vote", as_=label, tally="t", choice="yes", voter=label)
    request = await link.expect(VOTE)
    await link.send(VOTED, request[1], 1, 4, 0, 1)
    await stage.client.hear("done", as_=label)


async def test_goes_to_the_node_that_is_named_and_loses_nothing(stage: Stage) -> None:
    other = await stage.another_server()
    link, sub = await subscribed(stage)
    await stage.client.say("publish", as_="p", topic=TOPIC, payload="x")
    request = await link.expect(PUBLISH)
    await link.send(GOAWAY, MOVED, "the node is drained", 8_000, [other.url])
    there = await other.accept()
    # As long as the other node has not said WELCOME, this one serves.
    await voted(stage, link, "v")
    await there.welcome(actor=THERE)
    await stage.client.hear("state", state="connecting")
    # What comes while the last answer is awaited is not lost, and not asked for again.
    await link.deliver(sub, TOPIC, 1, 11, "eleven")
    await stage.client.hear("record", as_="s", offset=11)
    await link.send(PUBACK, request[1], 1, 12, 1)
    await stage.client.hear("done", as_="p", offset=12)
    await asyncio.wait_for(link.ended.wait(), 10)
    request = await there.subscribed(status=1, epoch=1, offset=12)
    assert request[4] == [2, 1, 12], "behind the last record of the other connection"
    await there.deliver(request[2], TOPIC, 1, 12, "twelve")
    await stage.client.hear("record", as_="s", offset=12)
    assert stage.client.all("record", "offset") == [10, 11, 12]
    assert stage.client.all("gap", "as") == []
    assert "disconnected" not in stage.client.all("state", "state")
    await voted(stage, there, "w")


async def test_what_the_old_node_never_answers_is_asked_of_the_new_one(stage: Stage) -> None:
    other = await stage.another_server()
    link, _ = await subscribed(stage)
    await stage.client.say("publish", as_="p", topic=TOPIC, payload="once")
    first = await link.expect(PUBLISH)
    await link.send(GOAWAY, MOVED, "the node is drained", 8_000, [other.url])
    there = await other.accept()
    await there.welcome(actor=THERE)
    await stage.client.hear("state", state="connecting")
    link.cut()
    await there.subscribed(status=1, epoch=1, offset=11)
    second = await there.expect(PUBLISH)
    numbers = [{key: frame[5][key] for key in ("producer", "sequence")} for frame in (first, second)]
    assert numbers[0] == numbers[1] and first[4] == second[4], "the same publish"
    await there.send(PUBACK, second[1], 1, 11, 1, None, True)
    await stage.client.hear("done", as_="p", offset=11, duplicate=True)


async def test_who_reaches_no_other_node_stays(stage: Stage) -> None:
    other = await stage.another_server()
    url = other.url
    await other.stop()
    link, sub = await subscribed(stage)
    # Half of the time is for finding another node, of which one attempt may fail late.
    await link.send(GOAWAY, MOVED, "too many connections", 20_000, [url])
    # Behind the address of this one there could be another node; there is not.
    again = await stage.server.accept()
    await again.welcome(actor=HERE)
    await asyncio.wait_for(again.ended.wait(), 10)
    await voted(stage, link, "v")
    await link.deliver(sub, TOPIC, 1, 11, "eleven")
    await stage.client.hear("record", as_="s", offset=11)
    assert stage.client.all("state", "state") == ["connecting", "connected"]


async def test_a_node_that_stops_is_left_for_another_one(stage: Stage) -> None:
    other = await stage.another_server()
    link, _ = await subscribed(stage)
    await link.send(GOAWAY, SHUTTING_DOWN, "the server stops", 8_000, [other.url])
    there = await other.accept()
    await there.welcome(actor=THERE)
    await asyncio.wait_for(link.ended.wait(), 10)
    assert (await there.subscribed(status=1, epoch=1, offset=11))[4] == [2, 1, 11]
    await voted(stage, there, "v")


async def test_nodes_that_were_told_of_are_gone_to_when_one_is_lost(stage: Stage) -> None:
    other = await stage.another_server()
    link = await stage.connected(info={"actor": HERE, "nodes": [other.url]})
    await stage.server.stop()
    link.cut()
    there = await other.accept()
    await there.welcome(actor=THERE)
    await stage.client.hear("state", state="connected")


async def test_an_eventual_increment_says_where_it_was_tried(stage: Stage) -> None:
    link = await stage.connected(info={"actor": HERE})
    await stage.client.say("add_eventual", as_="i", counter="likes")
    asked = await link.expect(PRODUCER)
    await link.send(OK, asked[1], {"producer": 5, "window": 64, "idle_ms": 3_600_000})
    first = (await link.expect(INCR))[5]
    assert (first["producer"], first["sequence"]) == (5, 1) and not first.get("tried"), first
    link.cut()
    again = await stage.welcomed(actor=THERE)
    second = (await again.expect(INCR))[5]
    assert second == {"producer": 5, "sequence": 1, "tried": [HERE]}, second
    again.cut()
    last = await stage.welcomed(actor=HERE)
    request = await last.expect(INCR)
    assert sorted(request[5]["tried"]) == [HERE, THERE], request
    await last.send(COUNTED, request[1], 1, 9, 12, 1, False, [1, 7, 9])
    await stage.client.hear("done", as_="i", value=12)
