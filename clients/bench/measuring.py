"""One measurement: a server, a publisher and a subscriber, each a process of its own.

When the subscriber is warm it is stopped (SIGSTOP) until a backlog is published. Then it goes on, and takes what waits for
it as fast as it can: neither the publisher nor the server's taking in is in its way. That is repeated, and added up.
"""

import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import servers

Process = subprocess.Popen[str]
HERE = Path(__file__).resolve().parent
TOPIC = "bench.deliveries"
#: Who could have used so much of its processor is the limit, not what is in front of it.
SATURATED = 0.9
#: Messages that wait when the subscriber goes on: more make frames of NATS that `ws` refuses (100 MiB).
BACKLOG = 131_072
#: So many are not measured; the subscriber takes them as they are published.
WARMUP_BACKLOGS = 4
#: A run that takes longer hangs.
OVERDUE_S = 60.0


@dataclass(frozen=True)
class Contender:
    """A client, and how an application reads with it."""

    language: str
    client: str
    read: str
    server: str
    #: Which server binary.
    peer: str
    #: As many as this client takes in a second or two.
    backlogs: int

    @property
    def name(self) -> str:
        return f"{self.language}/{self.client}/{self.read}"


@dataclass(frozen=True)
class Plan:
    """How it is measured."""

    #: Of the backlogs of a contender; 1 is all of them.
    scale: float
    #: Commands that keep a process on its processors.
    pin_subscriber: list[str]
    pin_others: list[str]
    binaries: dict[str, Path]
    programs: dict[str, list[str]]
    python: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """What one run has shown."""

    deliveries_per_s: float
    deliveries_per_cpu_s: float
    #: Shares of one processor, while it was measured.
    subscriber_cpu: float
    server_cpu: float
    #: Share of the time in which the subscriber could have run, and something else had its processor.
    disturbed: float
    #: How fast the backlog came to be, before.
    published_per_s: float
    publisher_cpu: float

    @property
    def limit(self) -> str:
        return "subscriber" if self.subscriber_cpu + self.disturbed >= SATURATED else "server"

    def as_dict(self) -> dict[str, float | str]:
        return {**{field.name: getattr(self, field.name) for field in fields(self)}, "limit": self.limit}


def measure(contender: Contender, plan: Plan) -> Outcome:
    """Runs it once."""
    backlogs = max(round(contender.backlogs * plan.scale), 1)
    with servers.running(contender.server, plan.binaries[contender.peer], plan.pin_others) as server:
        to_publisher = [contender.server, server.address, TOPIC]
        all_backlogs = str(WARMUP_BACKLOGS + backlogs)
        to_subscriber = [contender.client, contender.read, server.url, TOPIC, str(BACKLOG), all_backlogs]
        publisher = begin([*plan.pin_others, plan.python, str(HERE / "publisher.py"), *to_publisher], plan)
        subscriber = begin([*plan.pin_subscriber, *plan.programs[contender.language], *to_subscriber], plan)
        overdue = threading.Timer(OVERDUE_S, kill, [[publisher, subscriber]])
        overdue.start()
        try:
            heard(subscriber)
            for _ in range(WARMUP_BACKLOGS):
                publish(publisher, BACKLOG)
                before = heard(subscriber)
            after, times = before, Times()
            for _ in range(backlogs):
                after = take_backlog(server, publisher, subscriber, times)
        finally:
            overdue.cancel()
            kill([publisher, subscriber])
    messages = backlogs * BACKLOG
    cpu_s = after["cpu_seconds"] - before["cpu_seconds"]
    return Outcome(
        deliveries_per_s=messages / times.taking_s,
        deliveries_per_cpu_s=messages / cpu_s,
        subscriber_cpu=cpu_s / times.taking_s,
        server_cpu=times.server_cpu_s / times.taking_s,
        disturbed=(after["ready_seconds"] - before["ready_seconds"]) / times.taking_s,
        published_per_s=messages / times.publishing_s,
        publisher_cpu=times.publisher_cpu_s / times.publishing_s,
    )


@dataclass
class Times:
    """Of all backlogs together."""

    publishing_s: float = 0.0
    publisher_cpu_s: float = 0.0
    taking_s: float = 0.0
    server_cpu_s: float = 0.0


def take_backlog(
    server: servers.Running, publisher: Process, subscriber: Process, times: Times
) -> dict[str, Any]:
    """Lets a backlog come to be while the subscriber is stopped, and then lets it be taken."""
    subscriber.send_signal(signal.SIGSTOP)
    published = publish(publisher, BACKLOG)
    times.publishing_s += published["seconds"]
    times.publisher_cpu_s += published["cpu_seconds"]
    began, server_cpu = time.monotonic(), servers.cpu_s(server.pid)
    subscriber.send_signal(signal.SIGCONT)
    after = heard(subscriber)
    times.taking_s += time.monotonic() - began
    times.server_cpu_s += servers.cpu_s(server.pid) - server_cpu
    return after


def begin(command: list[str], plan: Plan) -> Process:
    """A process that says its results in lines of JSON."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=plan.environment)


def kill(processes: list[Process]) -> None:
    """Ends them, also one that is stopped; whoever waits for a line gets none."""
    for process in processes:
        process.kill()
        process.wait()


def publish(publisher: Process, messages: int) -> dict[str, Any]:
    """Publishes so many, and returns how it went."""
    assert publisher.stdin is not None
    publisher.stdin.write(f"{messages}\n")
    publisher.stdin.flush()
    return heard(publisher)


def heard(process: Process) -> dict[str, Any]:
    """The next line that it says; what it has to complain about stands on standard error."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process has ended without a result: {process.args!r}")
    said: dict[str, Any] = json.loads(line)
    return said
