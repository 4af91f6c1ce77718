"""Requests: answered, refused, repeated, given up, waiting for a connection."""

import asyncio

from conftest import Stage
from scripted import COUNTED, ERROR, INCR, PUBACK, PUBLISH, VOTE, VOTED

RATE_LIMITED, UNAVAILABLE = 15, 17


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


async def test_a_refusal_says_when_to_try_again(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("publish", as_="p", topic="a.b", payload="x")
    request = await link.expect(PUBLISH)
    await link.send(ERROR, request[1], RATE_LIMITED, "too many", 4_000)
    failed = await stage.client.hear("failed", as_="p")
    assert (failed["code"], failed["retryable"], failed["retry_after_ms"]) == ("rate_limited", True, 4_000), failed


async def test_what_is_unavailable_for_a_moment_is_asked_again_after_the_pause(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("vote", as_="v", tally="t", choice="yes", voter="w")
    first = await link.expect(VOTE)
    refused = asyncio.get_running_loop().time()
    await link.send(ERROR, first[1], UNAVAILABLE, "the shard has no leader", 300)
    second = await link.expect(VOTE)
    assert asyncio.get_running_loop().time() - refused >= 0.29, "before the server wanted to hear of it"
    assert second[2:5] == first[2:5]
    await link.send(VOTED, second[1], 1, 4, 0, 1)
    await stage.client.hear("done", as_="v")


async def test_what_is_unavailable_for_long_is_told_at_once(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("vote", as_="v", tally="t", choice="yes", voter="w")
    await link.send(ERROR, (await link.expect(VOTE))[1], UNAVAILABLE, "come back in an hour", 3_600_000)
    failed = await stage.client.hear("failed", as_="v")
    assert (failed["code"], failed["retry_after_ms"]) == ("unavailable", 3_600_000), failed


async def test_what_would_count_twice_is_not_asked_again(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("incr", as_="i", counter="c")
    await link.send(ERROR, (await link.expect(INCR))[1], UNAVAILABLE, "the shard has no leader", 10)
    assert (await stage.client.hear("failed", as_="i"))["code"] == "unavailable"
    await stage.client.say("incr", as_="j", counter="c")
    await link.expect(INCR)
    link.cut()
    assert (await stage.client.hear("failed", as_="j"))["code"] == "connection_lost"
    again = await stage.welcomed()
    await stage.client.say("vote", as_="v", tally="t", choice="yes", voter="w")
    await again.expect(VOTE)


async def test_an_answer_that_nobody_waits_for_any_more_harms_nothing(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("publish", as_="p", topic="a.b", payload="x", timeout_ms=100)
    late = await link.expect(PUBLISH)
    assert (await stage.client.hear("failed", as_="p"))["code"] == "timeout"
    await stage.client.say("publish", as_="q", topic="a.b", payload="y")
    request = await link.expect(PUBLISH)
    await link.send(PUBACK, late[1], 1, 7, 1)
    await link.send(PUBACK, request[1], 1, 8, 1)
    assert (await stage.client.hear("done", as_="q"))["offset"] == 8
    assert stage.client.all("done", "as") == ["q"]
    assert stage.client.all("state", "state") == ["connecting", "connected"]
