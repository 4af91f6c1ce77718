"""Boards: maps of 10,000 rows, larger than a frame, watched while they change."""

import asyncio

import pytest

from conftest import Dialer
from tidewire_stranger.codes import Code, Flags, Kind
from tidewire_stranger.following import WAIT, Refused, Watcher
from tidewire_stranger.records import Record

ROWS = 10_000
ROW_BYTES = 200
# One body writes these rows, far apart on the board, with the same number.
TOGETHER = [f"row {number:05}" for number in range(0, ROWS, 625)]
ROUNDS = 60


def row(number: int, text: bytes) -> Record:
    return Record(f"row {number:05}", None, text.ljust(ROW_BYTES, b"."))


async def fill(client, name: str) -> dict[str, bytes]:
    rows = [row(number, b"0") for number in range(ROWS)]
    for first in range(0, ROWS, 2_000):
        await client.publish(name, *rows[first : first + 2_000])
    return {record.key: record.payload for record in rows}


async def change(client, name: str, board: dict[str, bytes]) -> None:
    """Writes what belongs together, and other rows; deletes some of these."""
    for turn in range(1, ROUNDS + 1):
        body = [Record(key, None, (b"%d" % turn).ljust(ROW_BYTES, b".")) for key in TOGETHER]
        others = [row((turn * 7 + n * 13) % ROWS, b"other %d" % turn) for n in range(40)]
        others.append(Record(f"row {(turn * 31 + 1) % ROWS:05}"))
        body += [record for record in others if record.key not in TOGETHER]
        await client.publish(name, *body)
        for record in body:
            if record.payload is None:
                board.pop(record.key, None)
            else:
                board[record.key] = record.payload


def whole(watcher: Watcher) -> bool:
    """Whether what was written together is seen together."""
    return len({watcher.entries.get(key) for key in TOGETHER}) == 1


async def follow(dial: Dialer, name: str, final: asyncio.Future) -> Watcher:
    async with dial() as client:
        watcher = await client.watch(Kind.MAP, name)
        async with asyncio.timeout(3 * WAIT):
            while True:
                seen = len(watcher.updates)
                await watcher.update(3 * WAIT)
                if len(watcher.updates) == seen:
                    continue
                assert whole(watcher), "a mixture of two versions"
                if final.done() and watcher.entries == final.result():
                    return watcher


async def test_a_board_is_never_seen_half(dial: Dialer, fresh) -> None:
    name = fresh("map.board")
    final: asyncio.Future = asyncio.get_running_loop().create_future()
    async with dial() as client:
        board = await fill(client, name)
        followers = [asyncio.create_task(follow(dial, name, final)) for _ in range(3)]
        await change(client, name, board)
        # Ones that come while the others follow.
        followers += [asyncio.create_task(follow(dial, name, final)) for _ in range(2)]
        board["last"] = b"one"
        final.set_result(board)
        await client.publish(name, Record("last", None, b"one"))
        for watcher in await asyncio.gather(*followers):
            assert watcher.entries == board
            first = watcher.updates[0]
            assert Flags.FULL in Flags(first.flags) and len(first.value) > 9_000
            assert watcher.frames > len(watcher.updates), "it came in parts"
            assert all(len(update.value) < 1_000 for update in watcher.updates[1:]), "changes only"


async def test_a_board_that_changes_as_a_whole(dial: Dialer, fresh) -> None:
    name = fresh("map.board")
    async with dial() as client, dial() as other:
        await fill(client, name)
        watcher = await other.watch(Kind.MAP, name)
        await watcher.until(lambda seen: len(seen.entries) == ROWS)
        rows = [row(number, b"1") for number in range(ROWS)]
        for first in range(0, ROWS, 4_000):
            await client.publish(name, *rows[first : first + 4_000])
        board = {record.key: record.payload for record in rows}
        await watcher.until(lambda seen: seen.entries == board)


async def test_reading_a_board(dial: Dialer, fresh) -> None:
    name = fresh("map.board")
    async with dial() as client:
        board = await fill(client, name)
        with pytest.raises(Refused) as refused:
            await client.get(Kind.MAP, name)
        assert refused.value.code == Code.LIMIT_EXCEEDED
        assert (await client.get(Kind.MAP, name, "row 00007")).value == board["row 00007"]
        watcher = await client.watch(Kind.MAP, name)
        await watcher.until(lambda seen: len(seen.entries) == ROWS)
        assert watcher.entries == board
        await client.unsubscribe(watcher)


async def test_a_client_that_comes_back_goes_on_from_what_it_holds(dial: Dialer, fresh) -> None:
    name = fresh("map.board")
    async with dial() as client:
        board = await fill(client, name)
        async with dial() as other:
            watcher = await other.watch(Kind.MAP, name)
            await watcher.until(lambda seen: len(seen.entries) == ROWS)
            held = {"epoch": watcher.reply.epoch, "version": watcher.version}
        await client.publish(name, row(17, b"new"), Record("row 00018"))
        board["row 00017"] = row(17, b"new").payload
        del board["row 00018"]
        async with dial() as other:
            back = await other.watch(Kind.MAP, name, **held)
            back.entries = dict(watcher.entries)
            await back.until(lambda seen: bool(seen.updates))
            assert back.entries == board
