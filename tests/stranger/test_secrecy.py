"""Hidden results, ballots that are taken out, and where identities come from."""

import pytest

from conftest import Dialer
from tidewire_stranger.codes import Code, Kind, TallyOp
from tidewire_stranger.following import Refused


async def refused_code(call) -> int:
    with pytest.raises(Refused) as problem:
        await call
    return problem.value.code


async def value(client, tally: str) -> dict:
    return (await client.get(Kind.TALLY, tally)).value


@pytest.mark.parametrize("prefix", ["hidden", "parted"])
async def test_results_are_hidden_until_the_end(dial_small: Dialer, fresh, prefix: str) -> None:
    tally = fresh(prefix)
    async with dial_small() as client:
        await client.create_tally(tally, "ranked", ["a", "b"], hidden=True)
        watcher = await client.watch(Kind.TALLY, tally)
        for voter in range(6):
            await client.vote(tally, f"voter {voter}", [voter % 2])
        await watcher.until(lambda watch: watch.value and watch.value["ballots"] == 6)
        assert watcher.value["hidden"] and watcher.value["counts"] == []
        shown = await value(client, tally)
        assert (shown["counts"], shown["ballots"], shown["hidden"]) == ([], 6, True)
        assert await refused_code(client.get(Kind.ROUNDS, tally)) == Code.FORBIDDEN
        await client.tally(TallyOp.CLOSE, tally)
        await watcher.until(lambda watch: watch.value["counts"] == [3, 3])
        assert "hidden" not in await value(client, tally)
        assert (await client.get(Kind.ROUNDS, tally)).value["ballots"] == 6
        again = client.tally(TallyOp.OPEN, tally)
        assert await refused_code(again) == Code.TALLY_CLOSED


@pytest.mark.parametrize("prefix", ["poll", "parted"])
async def test_ballots_are_taken_out(dial_small: Dialer, fresh, prefix: str) -> None:
    tally = fresh(prefix)
    async with dial_small() as client:
        await client.create_tally(tally, "single", ["a", "b"], final=True)
        for voter in range(10):
            await client.vote(tally, f"voter {voter}", [voter % 2])
        gone = [f"voter {number}" for number in (1, 3, 5, 99)]
        assert await client.invalidate(tally, *gone) == 3
        assert await client.invalidate(tally, *gone) == 0
        shown = await value(client, tally)
        assert (shown["counts"], shown["ballots"]) == ([5, 2], 7)
        await client.vote(tally, "voter 1", [0])
        assert (await value(client, tally))["counts"] == [6, 2]
        await client.tally(TallyOp.CLOSE, tally)
        assert await client.invalidate(tally, "voter 0") == 1
        assert (await value(client, tally))["counts"] == [5, 2]


async def test_what_cannot_be_taken_out(dial: Dialer, fresh) -> None:
    tally = fresh("poll")
    async with dial() as client:
        assert await refused_code(client.invalidate(tally, "ann")) == Code.NOT_FOUND
        await client.create_tally(tally, "single", ["a"])
        for voters, hashes in [([], None), ([""], None), (["x"] * 10_001, None), ([], ["ab"])]:
            call = client.invalidate(tally, *voters, hashes=hashes)
            assert await refused_code(call) == Code.INVALID_ARGUMENT
        assert await client.invalidate(tally, hashes=["0" * 32]) == 0


async def test_an_identity_source_is_fixed(dial: Dialer, fresh) -> None:
    tally = fresh("poll")
    async with dial() as client:
        await client.create_tally(tally, "single", ["a"], identity="local")
        await client.vote(tally, "ann", [0])
        for identity in ["passport", None]:
            rules = {"identity": identity} if identity else {}
            changed = client.create_tally(tally, "single", ["a"], **rules)
            assert await refused_code(changed) == Code.ALREADY_EXISTS
        passport = fresh("poll")
        await client.create_tally(passport, "single", ["a"], identity="passport")
        assert await refused_code(client.vote(passport, "ann", [0])) == Code.FORBIDDEN
        for identity in ["", "x" * 257]:
            other = client.create_tally(fresh("poll"), "single", ["a"], identity=identity)
            assert await refused_code(other) == Code.INVALID_ARGUMENT
