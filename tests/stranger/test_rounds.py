"""Instant-runoff rounds of ranked tallies, computed by hand."""

import pytest

from conftest import Dialer
from tidewire_stranger.codes import Code, Kind
from tidewire_stranger.following import Refused

OPTIONS = ["ada", "ben", "cyd"]
ADA, BEN, CYD = range(3)


async def rounds_of(client, tally: str, ballots: list[list], **rules) -> dict:
    await client.create_tally(tally, "ranked", OPTIONS, **rules)
    for number, choices in enumerate(ballots):
        await client.vote(tally, f"voter {number}", choices)
    value = (await client.get(Kind.ROUNDS, tally)).value
    assert value["options"] == OPTIONS and value["ballots"] == len(ballots)
    return value["rounds"]


def plain(a_round: dict) -> tuple:
    """An absent index may be left out of the map or be nil."""
    keys = ("votes", "exhausted", "eliminated", "winner")
    return tuple(a_round.get(key) for key in keys)


async def test_the_last_one_is_eliminated_and_the_votes_move_on(dial: Dialer, fresh) -> None:
    """5 ada, 4 ben, 2 cyd then ben, 1 cyd alone. Cyd goes: ben has 6 of the 11 that count.

    Six is a majority of the ballots that still count, not of the 12 that were cast.
    """
    ballots = [[ADA, BEN]] * 5 + [[BEN]] * 4 + [[CYD, BEN]] * 2 + [[CYD]]
    async with dial() as client:
        first, second = await rounds_of(client, fresh("rounds"), ballots)
        assert plain(first) == ([5, 4, 3], 0, CYD, None)
        assert plain(second)[:2] == ([5, 6, 0], 1)
        assert second["winner"] == BEN


async def test_a_majority_wins_at_once(dial: Dialer, fresh) -> None:
    ballots = [[ADA, CYD]] * 4 + [[BEN]] * 2 + [[CYD]]
    async with dial() as client:
        (only,) = await rounds_of(client, fresh("rounds"), ballots)
        assert plain(only) == ([4, 2, 1], 0, None, ADA)


async def test_empty_ranks_are_skipped(dial: Dialer, fresh) -> None:
    ballots = [[None, ADA]] * 3 + [[BEN]] + [[ADA, ADA, BEN]]
    async with dial() as client:
        (only,) = await rounds_of(client, fresh("rounds"), ballots)
        assert only["votes"] == [4, 1, 0] and only["winner"] == ADA


@pytest.mark.parametrize(
    ("overvote", "votes", "exhausted"), [("skip", [3, 1, 1], 0), ("exhaust", [3, 1, 0], 1)]
)
async def test_over_votes(dial: Dialer, fresh, overvote, votes, exhausted) -> None:
    ballots = [[ADA]] * 3 + [[BEN]] + [[[ADA, BEN], CYD]]
    async with dial() as client:
        (only,) = await rounds_of(client, fresh("rounds"), ballots, overvote=overvote)
        assert plain(only) == (votes, exhausted, None, ADA)


@pytest.mark.parametrize(("limit", "votes", "exhausted"), [(0, [3, 1, 1], 0), (2, [3, 1, 0], 1)])
async def test_skipped_ranks_in_a_row(dial: Dialer, fresh, limit, votes, exhausted) -> None:
    ballots = [[ADA]] * 2 + [[None, ADA]] + [[BEN]] + [[None, None, CYD]]
    async with dial() as client:
        (only,) = await rounds_of(client, fresh("rounds"), ballots, exhaust_after_skips=limit)
        assert plain(only) == (votes, exhausted, None, ADA)


async def test_only_ranked_tallies_have_rounds(dial: Dialer, fresh) -> None:
    tally = fresh("single")
    async with dial() as client:
        await client.create_tally(tally, "single", OPTIONS)
        with pytest.raises(Refused) as refused:
            await client.get(Kind.ROUNDS, tally)
        assert refused.value.code == Code.UNSUPPORTED
        with pytest.raises(Refused) as refused:
            await client.watch(Kind.ROUNDS, tally)
        assert refused.value.code == Code.UNSUPPORTED
