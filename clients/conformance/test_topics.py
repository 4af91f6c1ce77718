"""Subscriptions: from where they go on, and what is said of what is missing."""

from conftest import Stage
from scripted import ERROR, GAP, OK, SUBSCRIBED, UNSUBSCRIBE

TOPIC = "a.b"


def records(stage: Stage) -> list[tuple[int, str]]:
    return stage.client.all("record", "offset", "payload")


async def subscribed(stage: Stage):
    """A subscription that has had two records, at offsets 10 and 11 of epoch 1."""
    link = await stage.connected()
    await stage.client.say("subscribe", as_="s", topic=TOPIC, start="latest")
    request = await link.subscribed(epoch=1, offset=10)
    assert request[3] == TOPIC and request[4] == [0], request
    await stage.client.hear("subscribed", as_="s", epoch=1, offset=10)
    await link.deliver(request[2], TOPIC, 1, 10, "ten", "eleven")
    await stage.client.hear("record", as_="s", offset=11)
    return link, request[2]


async def test_records_come_in_order(stage: Stage) -> None:
    link, sub = await subscribed(stage)
    await link.deliver(sub, TOPIC, 1, 12, "twelve")
    await stage.client.hear("record", offset=12)
    assert records(stage) == [(10, "ten"), (11, "eleven"), (12, "twelve")]


async def test_goes_on_behind_the_last_record_after_a_cut(stage: Stage) -> None:
    link, _ = await subscribed(stage)
    link.cut()
    again = await stage.server.accept()
    await again.welcome()
    request = await again.subscribed(status=1, epoch=1, offset=12)
    assert request[4] == [2, 1, 12], "from epoch 1, offset 12"
    await stage.client.hear("subscribed", as_="s", resumed=True)
    await again.deliver(request[2], TOPIC, 1, 12, "twelve")
    await stage.client.hear("record", offset=12)
    assert records(stage) == [(10, "ten"), (11, "eleven"), (12, "twelve")]
    assert stage.client.all("gap", "as") == []


async def test_says_what_retention_has_removed_meanwhile(stage: Stage) -> None:
    link, _ = await subscribed(stage)
    link.cut()
    again = await stage.server.accept()
    await again.welcome()
    request = await again.subscribed(status=2, epoch=1, offset=20, missing=[12, 20])
    gap = await stage.client.hear("gap", as_="s")
    assert (gap["reason"], gap["from"], gap["to"]) == ("retention", 12, 20), gap
    await again.deliver(request[2], TOPIC, 1, 20, "twenty")
    await stage.client.hear("record", offset=20)


async def test_says_that_the_history_is_another_one(stage: Stage) -> None:
    link, _ = await subscribed(stage)
    link.cut()
    again = await stage.server.accept()
    await again.welcome()
    request = await again.subscribed(status=3, epoch=2, offset=0)
    gap = await stage.client.hear("gap", as_="s")
    assert gap["reason"] == "new_epoch", gap
    await again.deliver(request[2], TOPIC, 2, 0, "anew")
    await stage.client.hear("record", offset=0)
    again.cut()
    last = await stage.server.accept()
    await last.welcome()
    assert (await last.subscribed(status=1, epoch=2, offset=1))[4] == [2, 2, 1]


async def test_a_gap_on_the_way_is_told_in_its_place(stage: Stage) -> None:
    link, sub = await subscribed(stage)
    await link.send(GAP, sub, TOPIC, 1, 12, 30, 0)
    await link.deliver(sub, TOPIC, 1, 30, "thirty")
    await stage.client.hear("record", offset=30)
    kinds = [event["event"] for event in stage.client.events if event["event"] in ("record", "gap")]
    assert kinds == ["record", "record", "gap", "record"]


async def test_a_refused_subscription_ends_and_the_client_does_not(stage: Stage) -> None:
    link = await stage.connected()
    await stage.client.say("subscribe", as_="s", topic="secret", start="latest")
    request = await link.expect(12)
    await link.send(ERROR, request[1], 13, "no rule allows that", None, request[2])
    ended = await stage.client.hear("unsubscribed", as_="s")
    assert ended["code"] == "forbidden", ended
    assert stage.client.all("state", "state") == ["connecting", "connected"]


async def test_nothing_comes_behind_the_end(stage: Stage) -> None:
    link, sub = await subscribed(stage)
    await stage.client.say("unsubscribe", as_="s")
    request = await link.expect(UNSUBSCRIBE)
    await link.deliver(sub, TOPIC, 1, 12, "too late")
    await link.send(OK, request[1])
    await stage.client.hear("unsubscribed", as_="s", code=None)
    assert records(stage) == [(10, "ten"), (11, "eleven")]


async def test_what_was_asked_for_while_away_begins_then(stage: Stage) -> None:
    link = await stage.connected()
    await stage.server.stop()
    link.cut()
    await stage.client.hear("state", state="disconnected")
    await stage.client.say("subscribe", as_="s", topic=TOPIC, start="latest")
    await stage.server.start()
    again = await stage.server.accept()
    await again.welcome()
    request = await again.expect(12)
    await again.send(SUBSCRIBED, request[1], request[2], 0, 1, 0)
    await stage.client.hear("subscribed", as_="s", epoch=1, offset=0)
