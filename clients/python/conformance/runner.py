#!/usr/bin/env python3
"""Drives the client from outside: commands as JSON lines on standard input, events as JSON lines on standard output.

It decides nothing: each command is one call of the client, each event one thing that the client said.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import tidewire

Command = dict[str, Any]


def say(event: str, **fields: Any) -> None:
    """Writes one event."""
    print(json.dumps({"event": event, **fields}, ensure_ascii=False), flush=True)


def start_of(raw: Any) -> tidewire.Start:
    """The start of a subscription."""
    if raw in (None, "latest", "earliest"):
        found: tidewire.Start = raw or "latest"
        return found
    if "offset" in raw:
        return tidewire.AtOffset(raw["offset"], raw.get("epoch", 0))
    if "time_ms" in raw:
        return tidewire.AtTime(raw["time_ms"])
    return tidewire.LastRecords(raw["last"])


def token_source(command: Command) -> Callable[[], str] | None:
    """What the token callback returns: one after the other, the last one for ever."""
    tokens = list(command.get("tokens") or [])
    if not tokens:
        return None
    return lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0]


class Runner:
    """One client, and what runs over it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: asyncio.Future[tidewire.Client] = asyncio.get_running_loop().create_future()
        self._running: dict[str, Any] = {}
        #: Subscriptions that are not read yet.
        self._held: dict[str, asyncio.Event] = {}
        #: Records that were leased last, by consumer and offset.
        self._jobs: dict[tuple[str, int], tidewire.Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, command: Command) -> None:
        """Begins what a command asks for."""
        task = asyncio.create_task(self._guarded(command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, command: Command) -> None:
        label = command.get("as")
        timeout_ms = command.get("timeout_ms")
        try:
            async with asyncio.timeout(None if timeout_ms is None else timeout_ms / 1000):
                await _OPS[command["op"]](self, command)
        except TimeoutError:
            say("failed", **{"as": label}, code="timeout", retryable=True)
        except tidewire.TidewireError as error:
            if label in self._running:
                del self._running[label]
                say("unsubscribed", **{"as": label}, code=error.code)
            elif command["op"] in ("subscribe", "watch", "consume"):
                say("unsubscribed", **{"as": label}, code=error.code)
            elif label is not None:
                later = _present(retry_after_ms=error.retry_after_ms)
                say("failed", **{"as": label}, code=error.code, retryable=error.retryable, **later)

    async def connect(self, command: Command) -> None:
        bounds = {
            name: command[name]
            for name in (
                "backoff_min_ms", "backoff_max_ms", "offline_queue", "connect_timeout_ms", "fingerprint"
            )
            if command.get(name) is not None
        }
        try:
            client = await tidewire.connect(
                self._url,
                client_name=command.get("client") or "runner",
                token=command.get("token"),
                token_callback=token_source(command),
                on_state=self._on_state,
                **bounds,
            )
        except tidewire.TidewireError as error:
            self._client.set_exception(error)
            self._client.exception()
        else:
            self._client.set_result(client)

    def _on_state(self, change: tidewire.StateChange) -> None:
        code = {} if change.code is None else {"code": change.code}
        say("state", state=str(change.state), **code)

    async def client(self) -> tidewire.Client:
        return await asyncio.shield(self._client)

    async def subscribe(self, command: Command) -> None:
        label = command["as"]
        client = await self.client()
        start, window = start_of(command.get("start")), command.get("credit")
        subscription = client.subscribe(command["topic"], start, window_bytes=window)
        held = asyncio.Event()
        self._held[label] = held
        if not command.get("hold"):
            held.set()
        async with subscription:
            self._running[label] = subscription
            await held.wait()
            async for event in subscription.events():
                self._tell(label, event)
        if self._running.pop(label, None) is not None:
            say("unsubscribed", **{"as": label}, code=None)

    def _tell(self, label: str, event: tidewire.Event) -> None:
        named = {"as": label}
        if isinstance(event, tidewire.Started):
            resumed = {"resumed": True} if event.resumed else {}
            say("subscribed", **named, epoch=event.epoch, offset=event.offset, **resumed)
        elif isinstance(event, tidewire.Record):
            say("record", **named, offset=event.offset, payload=event.text)
        elif isinstance(event, tidewire.Gap):
            say("gap", **named, reason=str(event.reason), **{"from": event.first, "to": event.next})

    async def read(self, command: Command) -> None:
        self._held[command["as"]].set()

    async def consume(self, command: Command) -> None:
        label = command["as"]
        group = (await self.client()).topic(command["topic"]).group(command["group"])
        async with group.consume(in_flight=command.get("in_flight", 64)) as jobs:
            self._running[label] = jobs
            async for job in jobs:
                self._jobs[label, job.record.offset] = job
                told = {"offset": job.record.offset, "payload": job.record.text}
                say("job", **{"as": label}, **told, deliveries=job.deliveries)
        if self._running.pop(label, None) is not None:
            say("unsubscribed", **{"as": label}, code=None)

    async def settle(self, command: Command) -> None:
        job = self._jobs[command["consumer"], command["offset"]]
        match command["op"]:
            case "ack":
                counts = await job.ack()
            case "nack":
                counts = await job.nack(command.get("delay_ms"))
            case "reject":
                counts = await job.reject(command.get("reason"))
            case _:
                counts = await job.extend()
        say("done", **{"as": command["as"]}, counts=counts)

    async def unsubscribe(self, command: Command) -> None:
        running = self._running.get(command["as"])
        if running is not None:
            running.close()

    async def publish(self, command: Command) -> None:
        topic = (await self.client()).topic(command["topic"])
        done = await topic.publish(command["payload"], ack=command.get("ack") or "policy")
        say("done", **{"as": command["as"]}, **_present(offset=done.offset, duplicate=done.duplicate))

    async def incr(self, command: Command) -> None:
        done = await (await self.client()).counter(command["counter"]).incr(command.get("delta", 1))
        say("done", **{"as": command["as"]}, value=done.value, **_present(duplicate=done.duplicate))

    async def get(self, command: Command) -> None:
        found = await (await self.client()).counter(command["counter"]).read()
        say("value", **{"as": command["as"]}, value=found.value, version=found.version)

    async def vote(self, command: Command) -> None:
        tally = (await self.client()).tally(command["tally"])
        done = await tally.vote(command["choice"], voter=command.get("voter") or "")
        say("done", **{"as": command["as"]}, **_present(duplicate=done.status == "duplicate"))

    async def watch(self, command: Command) -> None:
        client, label = await self.client(), command["as"]
        watch: tidewire.Watch[Any]
        if "counter" in command:
            watch = client.counter(command["counter"]).watch()
        elif "tally" in command:
            watch = client.tally(command["tally"]).watch()
        else:
            watch = client.presence(command["presence"]).watch()
        async with watch:
            self._running[label] = watch
            async for now in watch:
                value = _value(now)
                version = {} if now is None else {"version": now.version}
                say("value", **{"as": label}, value=value, **version)
        if self._running.pop(label, None) is not None:
            say("unsubscribed", **{"as": label}, code=None)

    async def presence_join(self, command: Command) -> None:
        member = command.get("member", command["as"])
        await (await self.client()).presence(command["presence"]).join(member, command.get("data"))
        say("done", **{"as": command["as"]})

    async def presence_leave(self, command: Command) -> None:
        member = command.get("member", command["as"])
        await (await self.client()).presence(command["presence"]).leave(member)
        say("done", **{"as": command["as"]})

    async def presence_members(self, command: Command) -> None:
        members = await (await self.client()).presence(command["presence"]).members()
        say("done", **{"as": command["as"]}, value=_texts(members))

    async def add_eventual(self, command: Command) -> None:
        increments = await (await self.client()).increments()
        done = await increments.add(command["counter"])
        say("done", **{"as": command["as"]}, value=done.value)

    async def close(self, _: Command) -> None:
        await (await self.client()).close()


def _present(**fields: Any) -> dict[str, Any]:
    """Those that say something."""
    return {name: value for name, value in fields.items() if value is not None and value is not False}


def _value(now: Any) -> Any:
    match now:
        case tidewire.CounterValue():
            return now.value
        case tidewire.Standings():
            return list(now.counts)
        case tidewire.Entries():
            return _texts(now.all)
    return None


def _texts(entries: dict[str, tidewire.Entry]) -> dict[str, str]:
    return {key: entry.text for key, entry in entries.items()}


_OPS: dict[str, Callable[[Runner, Command], Coroutine[Any, Any, None]]] = {
    "connect": Runner.connect,
    "subscribe": Runner.subscribe,
    "unsubscribe": Runner.unsubscribe,
    "publish": Runner.publish,
    "incr": Runner.incr,
    "get": Runner.get,
    "vote": Runner.vote,
    "watch": Runner.watch,
    "read": Runner.read,
    "consume": Runner.consume,
    "ack": Runner.settle,
    "nack": Runner.settle,
    "reject": Runner.settle,
    "extend": Runner.settle,
    "presence_join": Runner.presence_join,
    "presence_leave": Runner.presence_leave,
    "presence_members": Runner.presence_members,
    "add_eventual": Runner.add_eventual,
    "close": Runner.close,
}


async def main(url: str) -> None:
    """Reads commands until standard input ends."""
    runner = Runner(url)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        command = json.loads(line)
        if command["op"] == "exit":
            return
        runner.take(command)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
