"""Tallies of the three kinds: ballots, their changes, and a tally's states."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger import frames as f
from tidewire_stranger.codes import Code, Kind, TallyOp, Voted
from tidewire_stranger.following import WAIT, Refused

OPTIONS = ["tea", "coffee", "water"]


async def standings(client, tally: str) -> dict:
    return (await client.get(Kind.TALLY, tally)).value


async def counts(client, tally: str) -> list[int]:
    return (await standings(client, tally))["counts"]


async def refused_code(awaitable) -> int:
    with pytest.raises(Refused) as refused:
        await awaitable
    return refused.value.code


async def test_creating(dial: Dialer, fresh) -> None:
    tally = fresh("tally")
    async with dial() as client:
        made = await client.create_tally(tally, "single", OPTIONS)
        assert made["created"] is True and made["state"] == "open"
        again = await client.create_tally(tally, "single", OPTIONS)
        assert again["created"] is False
        other = client.create_tally(tally, "single", OPTIONS[::-1])
        assert await refused_code(other) == Code.ALREADY_EXISTS
        seen = await standings(client, tally)
        assert seen["counts"] == [0, 0, 0] and seen["state"] == "open"
        assert (seen["ballots"], seen["blank"], seen["overvotes"]) == (0, 0, 0)
        assert seen["options"] == OPTIONS and seen["rules"]["kind"] == "single"


async def test_single(dial: Dialer, fresh) -> None:
    tally = fresh("single")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        ballots = {"a": [0], "b": ["tea"], "c": ["water"], "blank": [], "over": [[0, 1]]}
        for voter, choices in ballots.items():
            assert (await client.vote(tally, voter, choices)).status == Voted.ACCEPTED
        seen = await standings(client, tally)
        assert seen["counts"] == [2, 0, 1]
        assert (seen["ballots"], seen["blank"], seen["overvotes"]) == (5, 1, 1)


async def test_an_over_vote_whose_options_are_not_known(dial: Dialer, fresh) -> None:
    tally = fresh("single")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        await client.vote(tally, "a", [[]])
        seen = await standings(client, tally)
        assert seen["counts"] == [0, 0, 0] and (seen["blank"], seen["overvotes"]) == (0, 1)


async def test_multiple(dial: Dialer, fresh) -> None:
    tally = fresh("multiple")
    async with dial() as client:
        await client.create_tally(tally, "multiple", OPTIONS, choices_max=2)
        await client.vote(tally, "a", [0, 2])
        await client.vote(tally, "b", ["water", 2])  # named twice, counted once
        await client.vote(tally, "c", [])
        for wrong in ([0, 1, 2], [[0, 1]], [0, None]):
            vote = client.vote(tally, "d", wrong)
            assert await refused_code(vote) == Code.INVALID_ARGUMENT
        seen = await standings(client, tally)
        assert seen["counts"] == [1, 0, 2] and (seen["ballots"], seen["blank"]) == (3, 1)


async def test_ranked_counts_first_preferences(dial: Dialer, fresh) -> None:
    tally = fresh("ranked")
    async with dial() as client:
        await client.create_tally(tally, "ranked", OPTIONS)
        for voter, choices in {
            "a": [0, 1, 2],
            "b": ["coffee", "tea"],
            "c": [0],
            "blank": [None, None],
            "late": [None, 2],
            "over": [[0, 1], 2],
        }.items():
            await client.vote(tally, voter, choices)
        seen = await standings(client, tally)
        assert seen["counts"] == [2, 1, 0]
        # `blank` counts an empty rank 1: the ballot "late" too.
        assert (seen["ballots"], seen["blank"], seen["overvotes"]) == (6, 2, 1)


async def test_changing_a_vote(dial: Dialer, fresh) -> None:
    tally = fresh("change")
    async with dial() as client, dial() as other:
        await client.create_tally(tally, "single", OPTIONS)
        first = await client.vote(tally, "a", [0])
        same = await other.vote(tally, "a", ["tea"])
        changed = await other.vote(tally, "a", [2])
        assert [first.status, same.status, changed.status] == [
            Voted.ACCEPTED,
            Voted.DUPLICATE,
            Voted.CHANGED,
        ]
        assert same.revision == first.revision < changed.revision
        assert first.version < changed.version
        assert await counts(client, tally) == [0, 0, 1]
        assert (await standings(client, tally))["ballots"] == 1


async def test_a_late_retry_never_overwrites(dial: Dialer, fresh) -> None:
    tally = fresh("revision")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        assert (await client.vote(tally, "a", [0], revision=5)).revision == 5
        assert (await client.vote(tally, "a", [1], revision=9)).status == Voted.CHANGED
        late = client.vote(tally, "a", [0], revision=5)
        assert await refused_code(late) == Code.STALE_REVISION
        equal = client.vote(tally, "a", [2], revision=9)
        assert await refused_code(equal) == Code.STALE_REVISION
        assert (await client.vote(tally, "a", [1], revision=9)).status == Voted.DUPLICATE
        assert (await client.vote(tally, "a", [1], revision=3)).status == Voted.DUPLICATE
        assert await counts(client, tally) == [0, 1, 0]


async def test_final(dial: Dialer, fresh) -> None:
    tally = fresh("final")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS, final=True)
        await client.vote(tally, "a", [0])
        assert await refused_code(client.vote(tally, "a", [1])) == Code.ALREADY_VOTED
        assert await counts(client, tally) == [1, 0, 0]


async def test_closing(dial: Dialer, fresh) -> None:
    tally = fresh("close")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        await client.vote(tally, "a", [0])
        watcher = await client.watch(Kind.TALLY, tally)
        assert (await client.tally(TallyOp.CLOSE, tally))["state"] == "closed"
        assert await refused_code(client.vote(tally, "b", [0])) == Code.TALLY_CLOSED
        await watcher.until(lambda seen: seen.value and seen.value["state"] == "closed")
        assert watcher.value["counts"] == [1, 0, 0]


async def test_scheduled_and_opened_by_hand(dial: Dialer, fresh) -> None:
    tally = fresh("scheduled")
    async with dial() as client:
        later = client.welcome.info["time_ms"] + 3_600_000
        made = await client.create_tally(tally, "single", OPTIONS, opens_at_ms=later)
        assert made["state"] == "scheduled"
        assert await refused_code(client.vote(tally, "a", [0])) == Code.TALLY_NOT_OPEN
        assert (await client.tally(TallyOp.OPEN, tally))["state"] == "open"
        assert (await client.vote(tally, "a", [0])).status == Voted.ACCEPTED


async def test_scheduled_opens_and_closes_by_itself(dial: Dialer, fresh) -> None:
    tally = fresh("scheduled")
    async with dial() as client:
        now = client.welcome.info["time_ms"]
        await client.create_tally(
            tally, "single", OPTIONS, opens_at_ms=now + 1500, closes_at_ms=now + 3000
        )
        watcher = await client.watch(Kind.TALLY, tally)
        await watcher.until(lambda seen: seen.value and seen.value["state"] == "scheduled")
        await watcher.until(lambda seen: seen.value["state"] == "open")
        await client.vote(tally, "a", [0])
        await watcher.until(lambda seen: seen.value["state"] == "closed")
        assert await refused_code(client.vote(tally, "b", [0])) == Code.TALLY_CLOSED


async def test_deleting(dial: Dialer, fresh) -> None:
    tally = fresh("delete")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        await client.vote(tally, "a", [0])
        watcher = await client.watch(Kind.TALLY, tally)
        await client.tally(TallyOp.DELETE, tally)
        await watcher.until(lambda seen: seen.deleted)
        for request in (
            client.vote(tally, "a", [0]),
            client.get(Kind.TALLY, tally),
            client.get(Kind.ROUNDS, tally),
            client.watch(Kind.TALLY, tally),
            client.tally(TallyOp.CLOSE, tally),
        ):
            assert await refused_code(request) == Code.NOT_FOUND
        assert (await client.create_tally(tally, "single", OPTIONS))["created"] is True
        assert await counts(client, tally) == [0, 0, 0]


async def test_watchers_agree_with_voters(dial: Dialer, fresh) -> None:
    tally = fresh("crowd")
    async with dial() as client, dial() as other:
        await client.create_tally(tally, "single", OPTIONS)
        watcher = await other.watch(Kind.TALLY, tally, interval_ms=50)
        assert watcher.reply.info["options"] == OPTIONS
        futures = [await client.begin(f.Vote(0, tally, f"voter {n}", [n % 3])) for n in range(300)]
        async with asyncio.timeout(WAIT):
            replies = await asyncio.gather(*futures)
        newest = max(reply.version for reply in replies)
        await watcher.until(lambda seen: seen.holds(newest))
        assert watcher.value["counts"] == [100, 100, 100]
        assert watcher.value["ballots"] == 300


@pytest.mark.parametrize("choices", [["beer"], [3], ["tea", "beer"]])
async def test_options_that_nobody_declared(dial: Dialer, fresh, choices) -> None:
    tally = fresh("unknown")
    async with dial() as client:
        await client.create_tally(tally, "ranked", OPTIONS)
        assert await refused_code(client.vote(tally, "a", choices)) == Code.UNKNOWN_OPTION


@pytest.mark.parametrize(
    "rules",
    [
        {"kind": "triple", "options": OPTIONS},
        {"kind": "single", "options": []},
        {"kind": "single", "options": ["a", "a"]},
        {"kind": "single", "options": ["x" * 257]},
        {"kind": "single", "options": [f"{n}" for n in range(1025)]},
        {"kind": "ranked", "options": OPTIONS, "overvote": "guess"},
        {"kind": "multiple", "options": OPTIONS, "choices_max": 0},
        {"options": OPTIONS},
        {"kind": "single"},
        None,
    ],
    ids=str,
)
async def test_rules_that_are_none(dial: Dialer, fresh, rules) -> None:
    async with dial() as client:
        code = await refused_code(client.tally(TallyOp.CREATE, fresh("rules"), rules))
        assert code in (Code.INVALID_ARGUMENT, Code.MALFORMED)


@pytest.mark.parametrize("voter", ["", "x" * 257])
async def test_voters_without_a_name(dial: Dialer, fresh, voter: str) -> None:
    tally = fresh("voter")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        assert await refused_code(client.vote(tally, voter, [0])) == Code.INVALID_ARGUMENT
