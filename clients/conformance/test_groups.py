"""Consumers of groups: leases, what becomes of them, and what a cut does to both."""

from conftest import Stage
from scripted import CONSUME, ERROR, LEASED, OK, SETTLE, TIME_MS, UNSUBSCRIBE, Link, body

TOPIC, GROUP = "jobs", "mailers"
ACK, NACK, EXTEND, REJECT = 0, 1, 2, 3
NOT_FOUND = 9


async def lease(link: Link, sub: int, offset: int, text: str, deliveries: int = 1) -> None:
    """One record for the consumer."""
    await link.send(LEASED, sub, TOPIC, 1, TIME_MS, None, [[offset, deliveries]], body(text))


async def consuming(stage: Stage) -> tuple[Link, int]:
    """A consumer that has the records 5 and 6."""
    link = await stage.connected()
    await stage.client.say("consume", as_="c", topic=TOPIC, group=GROUP, in_flight=2)
    request = await link.expect(CONSUME)
    assert request[3:6] == [TOPIC, GROUP, {"in_flight": 2}], request
    # Leases may come before the reply.
    await lease(link, request[2], 5, "five")
    await link.send(OK, request[1])
    await lease(link, request[2], 6, "six")
    await stage.client.hear("job", as_="c", offset=5, payload="five", deliveries=1)
    await stage.client.hear("job", as_="c", offset=6, payload="six", deliveries=1)
    return link, request[2]


async def again(stage: Stage) -> tuple[Link, int]:
    """The next connection, over which the group is consumed again."""
    link = await stage.welcomed()
    request = await link.expect(CONSUME)
    assert request[3:6] == [TOPIC, GROUP, {"in_flight": 2}], request
    await link.send(OK, request[1])
    return link, request[2]


async def settled(link: Link, sub: int, op: int, offset: int, records: int = 1) -> dict[str, object]:
    """Takes a SETTLE and answers how many records it concerned; returns its options."""
    request = await link.expect(SETTLE)
    assert request[2:5] == [sub, op, [[offset, offset + 1]]], request
    await link.send(OK, request[1], {"records": records})
    return {key: value for key, value in (request[5] or {}).items() if value is not None}


async def test_a_lease_is_acknowledged(stage: Stage) -> None:
    link, sub = await consuming(stage)
    await stage.client.say("ack", as_="a", consumer="c", offset=5)
    await settled(link, sub, ACK, 5)
    await stage.client.hear("done", as_="a", counts=True)


async def test_an_acknowledgement_that_comes_too_late_does_not_count(stage: Stage) -> None:
    link, sub = await consuming(stage)
    await stage.client.say("ack", as_="a", consumer="c", offset=5)
    await settled(link, sub, ACK, 5, records=0)
    await stage.client.hear("done", as_="a", counts=False)


async def test_a_lease_is_given_back_extended_and_rejected(stage: Stage) -> None:
    link, sub = await consuming(stage)
    await stage.client.say("extend", as_="e", consumer="c", offset=5)
    await settled(link, sub, EXTEND, 5)
    await stage.client.hear("done", as_="e", counts=True)
    await stage.client.say("nack", as_="n", consumer="c", offset=5, delay_ms=50)
    assert await settled(link, sub, NACK, 5) == {"delay_ms": 50}
    await stage.client.hear("done", as_="n", counts=True)
    await stage.client.say("reject", as_="r", consumer="c", offset=6, reason="no address")
    assert await settled(link, sub, REJECT, 6) == {"reason": "no address"}
    await stage.client.hear("done", as_="r", counts=True)
    await lease(link, sub, 5, "five", deliveries=2)
    await stage.client.hear("job", as_="c", offset=5, deliveries=2)


async def test_what_was_not_settled_is_delivered_again_after_a_cut(stage: Stage) -> None:
    link, sub = await consuming(stage)
    await stage.client.say("ack", as_="a", consumer="c", offset=5)
    await settled(link, sub, ACK, 5)
    await stage.client.hear("done", as_="a")
    link.cut()
    link, sub = await again(stage)
    await lease(link, sub, 6, "six", deliveries=2)
    await stage.client.hear("job", as_="c", offset=6, deliveries=2)
    await stage.client.say("ack", as_="b", consumer="c", offset=6)
    await settled(link, sub, ACK, 6)
    await stage.client.hear("done", as_="b", counts=True)


async def test_an_acknowledgement_that_was_cut_off_is_said_again(stage: Stage) -> None:
    link, _ = await consuming(stage)
    await stage.client.say("ack", as_="a", consumer="c", offset=5)
    await link.expect(SETTLE)
    link.cut()
    link, sub = await again(stage)
    # It is not this consumer's any more: somebody else has got it meanwhile.
    await settled(link, sub, ACK, 5, records=0)
    await stage.client.hear("done", as_="a", counts=False)


async def test_a_refusal_of_a_record_that_was_cut_off_is_not_said_again(stage: Stage) -> None:
    link, _ = await consuming(stage)
    await stage.client.say("nack", as_="n", consumer="c", offset=5)
    await link.expect(SETTLE)
    link.cut()
    failed = await stage.client.hear("failed", as_="n")
    assert failed["code"] == "connection_lost", failed
    link, sub = await again(stage)
    # The record comes to the same consumer again; a refusal of the delivery before must not reach it.
    await lease(link, sub, 5, "five", deliveries=2)
    await stage.client.hear("job", as_="c", offset=5, deliveries=2)
    await stage.client.say("ack", as_="a", consumer="c", offset=5)
    await settled(link, sub, ACK, 5)
    await stage.client.hear("done", as_="a", counts=True)


async def test_a_consumer_ends_with_its_group(stage: Stage) -> None:
    link, sub = await consuming(stage)
    await link.send(ERROR, 0, NOT_FOUND, "the group was deleted", None, sub)
    ended = await stage.client.hear("unsubscribed", as_="c")
    assert ended["code"] == "not_found", ended
    link.cut()
    link = await stage.welcomed()
    await stage.client.say("consume", as_="d", topic=TOPIC, group="others", in_flight=2)
    assert (await link.expect(CONSUME))[4] == "others", "the first one is not opened again"


async def test_a_consumer_that_is_ended_says_so(stage: Stage) -> None:
    link, sub = await consuming(stage)
    await stage.client.say("unsubscribe", as_="c")
    request = await link.expect(UNSUBSCRIBE)
    assert request[2] == sub, request
    await link.send(OK, request[1])
    await stage.client.hear("unsubscribed", as_="c", code=None)
