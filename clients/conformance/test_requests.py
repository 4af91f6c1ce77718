"""Requests: answered, refused, repeated after a cut, waiting for a connection; and watches."""

from conftest import Stage
from scripted import COUNTED, ERROR, INCR, PUBACK, PUBLISH, UPDATE, VOTE, VOTED, WATCH, WATCHING


async def test_a_publish_is_acknowledged(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("publish", as_="p", topic="a.b", payload="x")
    request = await link.expect(PUBLISH)
    assert request[2] == "a.b"
    await link.send(PUBACK, request[1], 1, 41, 1)
    assert (await stage.client.hear("done", as_="p"))["offset"] == 41


async def test_a_refusal_says_its_code_and_whether_to_try_again(stage: Stage) -> None:
    link = await stage.connected()
    for label, code, name, retryable in (("p", 13, "forbidden", False), ("q", 15, "rate_limited", True)):
        await stage.client.say("publish", as_=label, topic="a.b", payload="x")
        request = await link.expect(PUBLISH)
        await link.send(ERROR, request[1], code, "no")
        failed = await stage.client.hear("failed", as_=label)
        assert (failed["code"], failed["retryable"]) == (name, retryable), failed


async def test_a_publish_that_was_cut_off_is_repeated_and_counts_once(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("publish", as_="p", topic="a.b", payload="once")
    first = await link.expect(PUBLISH)
    link.cut()
    again = await stage.server.accept()
    await again.welcome()
    second = await again.expect(PUBLISH)
    options = [{key: frame[5][key] for key in ("producer", "sequence")} for frame in (first, second)]
    assert options[0] == options[1], "the same producer and sequence"
    assert first[4] == second[4]
    await again.send(PUBACK, second[1], 1, 7, 1, None, True)
    done = await stage.client.hear("done", as_="p")
    assert (done["offset"], done["duplicate"]) == (7, True)
    assert len(stage.client.all("done", "as")) == 1


async def test_publishes_wait_for_the_connection_up_to_a_bound(stage: Stage) -> None:
    link = await stage.connected(offline_queue=2)
    await stage.server.stop()
    link.cut()
    await stage.client.hear("state", state="disconnected")
    for label in ("p1", "p2", "p3"):
        await stage.client.say("publish", as_=label, topic="a.b", payload=label)
    failed = await stage.client.hear("failed", as_="p3")
    assert failed["code"], failed
    await stage.server.start()
    again = await stage.server.accept()
    await again.welcome()
    for offset, label in enumerate(("p1", "p2")):
        request = await again.expect(PUBLISH)
        assert label.encode() in request[4], "in their order"
        await again.send(PUBACK, request[1], 1, offset, 1)
        assert (await stage.client.hear("done", as_=label))["offset"] == offset


async def test_an_increment_counts(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("incr", as_="i", counter="c", delta=3)
    request = await link.expect(INCR)
    assert request[2:5] == ["c", 0, 3], request
    await link.send(COUNTED, request[1], 1, 9, 12, 3, False)
    assert (await stage.client.hear("done", as_="i"))["value"] == 12


async def test_a_vote_that_was_cut_off_is_cast_again(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("vote", as_="v", tally="t", choice="yes", voter="w")
    first = await link.expect(VOTE)
    assert first[2:4] == ["t", "w"], first
    link.cut()
    again = await stage.server.accept()
    await again.welcome()
    second = await again.expect(VOTE)
    assert second[2:5] == first[2:5]
    await again.send(VOTED, second[1], 1, 4, 2, 1)
    await stage.client.hear("done", as_="v", duplicate=True)


async def test_a_watch_shows_newer_values_only(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("watch", as_="w", counter="c")
    request = await link.expect(WATCH)
    assert request[3:5] == [1, "c"], request
    await link.send(WATCHING, request[1], request[2], 1, 10)
    await link.send(UPDATE, request[2], 10, 1, 100)
    await stage.client.hear("value", as_="w", value=100)
    await link.send(UPDATE, request[2], 9, 1, 90)
    await link.send(UPDATE, request[2], 11, 1, 110)
    await stage.client.hear("value", as_="w", value=110)
    assert 90 not in stage.client.all("value", "value")


async def test_a_watch_goes_on_after_a_cut(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("watch", as_="w", counter="c")
    request = await link.expect(WATCH)
    await link.send(WATCHING, request[1], request[2], 1, 10)
    await link.send(UPDATE, request[2], 10, 1, 100)
    await stage.client.hear("value", as_="w", value=100)
    link.cut()
    again = await stage.server.accept()
    await again.welcome()
    request = await again.expect(WATCH)
    await again.send(WATCHING, request[1], request[2], 1, 12)
    await again.send(UPDATE, request[2], 12, 1, 120)
    await stage.client.hear("value", as_="w", value=120)
