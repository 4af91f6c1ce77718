"""The programs that stand for the clients: JSON commands go in, JSON events come out (README.md)."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from scripted import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = {
    "rust": [os.environ.get("TIDEWIRE_RUST_RUNNER", str(ROOT / "target/debug/examples/conformance"))],
    "typescript": ["node", str(ROOT / "clients/typescript/conformance/runner.mjs")],
    "python": [os.environ.get("TIDEWIRE_PYTHON", "python3"), str(ROOT / "clients/python/conformance/runner.py")],
}

#: Clients with their transports, as the scenarios are named after them.
CLIENTS = {
    "rust": ("rust", "ws"),
    "rust-quic": ("rust", "quic"),
    "typescript": ("typescript", "ws"),
    "python": ("python", "ws"),
    "python-quic": ("python", "quic"),
}


class Runner:
    """A client under test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._changed = asyncio.Condition()
        self._taken = 0
        self.events: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, name: str, url: str) -> "Runner":
        """Starts the program of a client."""
        pipe = asyncio.subprocess.PIPE
        runner = cls(await asyncio.create_subprocess_exec(*RUNNERS[name], url, stdin=pipe, stdout=pipe))
        runner._reading = asyncio.create_task(runner._read())
        return runner

    async def _read(self) -> None:
        while line := await self._process.stdout.readline():
            async with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()

    async def say(self, op: str, **fields: Any) -> None:
        """Gives a command."""
        if "as_" in fields:
            fields["as"] = fields.pop("as_")
        self._process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        await self._process.stdin.drain()

    async def hear(self, event: str, **wanted: Any) -> dict[str, Any]:
        """The next event like this that was not waited for yet; those between are skipped."""
        if "as_" in wanted:
            wanted["as"] = wanted.pop("as_")
        wanted["event"] = event
        try:
            async with asyncio.timeout(PATIENCE_S), self._changed:
                while True:
                    while self._taken < len(self.events):
                        found = self.events[self._taken]
                        self._taken += 1
                        if all(found.get(key) == value for key, value in wanted.items()):
                            return found
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{wanted} has not come; there were {self.events}") from None

    def all(self, event: str, *fields: str) -> list[Any]:
        """These fields of all such events until now."""
        found = [each for each in self.events if each["event"] == event]
        rows = [tuple(each.get(field) for field in fields) for each in found]
        return [row[0] for row in rows] if len(fields) == 1 else rows

    def kill(self) -> None:
        """Ends the program if it still runs."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self) -> None:
        """Ends the program, which has to end by itself when it is told to."""
        await self.say("exit")
        try:
            async with asyncio.timeout(PATIENCE_S):
                code = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            raise AssertionError("the runner does not end") from None
        await self._reading
        assert code == 0, f"the runner ended with {code}"
