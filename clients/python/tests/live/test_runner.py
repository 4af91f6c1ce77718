"""The runner of the conformance suite, against a server."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNNER = Path(__file__).resolve().parents[2] / "conformance" / "runner.py"


def test_each_command_has_its_event(server: Any, fresh: Callable[[str], str]) -> None:
    topic, counter = fresh("news"), fresh("likes")
    commands: list[dict[str, Any]] = [
        {"op": "connect", "client": "runner", "token": None},
        {"op": "subscribe", "as": "s", "topic": topic, "start": "latest"},
        {"op": "publish", "as": "p", "topic": topic, "payload": "hello"},
        {"op": "incr", "as": "i", "counter": counter, "delta": 2},
        {"op": "get", "as": "g", "counter": counter},
        {"op": "vote", "as": "v", "tally": fresh("none"), "choice": "x", "voter": "w"},
        {"op": "watch", "as": "w", "counter": counter},
        {"op": "presence_join", "as": "m", "presence": fresh("room"), "data": "d"},
    ]
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, str(RUNNER), server.url()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    # A runner that falls silent is ended, and the next line is none.
    overdue = threading.Timer(30, process.kill)
    overdue.start()
    assert process.stdin is not None and process.stdout is not None
    for each in commands:
        process.stdin.write(json.dumps(each) + "\n")
    process.stdin.flush()
    events: list[dict[str, Any]] = []
    wanted = {("record", "s"), ("done", "p"), ("done", "i"), ("value", "g"), ("failed", "v"), ("value", "w")}
    wanted |= {("done", "m"), ("subscribed", "s")}
    while wanted:
        events.append(json.loads(process.stdout.readline()))
        wanted.discard((events[-1]["event"], events[-1].get("as", "")))
    assert [each["state"] for each in events if each["event"] == "state"] == ["connecting", "connected"]
    record = next(each for each in events if each["event"] == "record")
    assert (record["offset"], record["payload"]) == (0, "hello")
    failed = next(each for each in events if each["event"] == "failed")
    assert (failed["code"], failed["retryable"]) == ("not_found", False)
    process.stdin.write('{"op":"unsubscribe","as":"s"}\n{"op":"close"}\n')
    process.stdin.flush()
    rest = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert {"event": "unsubscribed", "as": "s", "code": None} in rest
    assert any(each.get("state") == "disconnected" for each in rest)
    process.stdin.write('{"op":"exit"}\n')
    process.stdin.close()
    assert process.wait(20) == 0
    overdue.cancel()
