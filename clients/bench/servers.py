"""The servers: each run has one of its own, on free ports, stopped by its own process."""

import json
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

START_S_MAX = 20.0
STOP_S_MAX = 10.0
#: Bytes that a subscriber may be behind, with each of them.
BEHIND_BYTES = 1 << 30
#: What Tidewire keeps, so that the whole backlog is there; limits are shares of 16 shards.
KEEPS = f"""
[limits]
topic_bytes_max = {16 * BEHIND_BYTES}
topic_batches_max = {16 * 4_000_000}
[[policy]]
names = "bench.>"
retention_records = 4_000_000
retention_bytes = {BEHIND_BYTES}
"""


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    pid: int
    #: Where the publisher writes.
    address: str
    #: Where the subscriber connects.
    url: str


@contextmanager
def running(server: str, binary: Path, pinned: list[str]) -> Iterator[Running]:
    """A server of its own for one run; `pinned` is the command that keeps it on its processors."""
    with tempfile.TemporaryDirectory(prefix="tidewire-clients-bench-") as folder:
        ports = [free_port(), free_port()]
        arguments, url = COMMANDS[server](Path(folder), ports)
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen([*pinned, str(binary), *arguments], stdout=out, stderr=out, cwd=folder)
        try:
            for port in {ports[0], urlsplit(url).port or ports[0]}:
                wait_for(port, process)
            yield Running(process.pid, f"127.0.0.1:{ports[0]}", url)
            if process.poll() is not None:
                raise RuntimeError(f"{server} has ended by itself")
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{server} has said:\n{log.read_text()}") from error
        finally:
            stop(process)


def tidewire(folder: Path, ports: list[int]) -> tuple[list[str], str]:
    config = folder / "tidewire.toml"
    config.write_text(KEEPS)
    listen = [f"127.0.0.1:{port}" for port in ports]
    return [
        "serve",
        "--config",
        str(config),
        "--listen",
        listen[0],
        "--admin-listen",
        listen[1],
    ], f"ws://{listen[0]}"


def nats(folder: Path, ports: list[int]) -> tuple[list[str], str]:
    config = folder / "nats.conf"
    config.write_text(
        f'host: 127.0.0.1\nport: {ports[0]}\nmax_pending: {BEHIND_BYTES}\nwrite_deadline: "60s"\n'
        f"websocket {{ host: 127.0.0.1, port: {ports[1]}, no_tls: true, compression: false }}\n"
    )
    return ["-c", str(config)], f"ws://127.0.0.1:{ports[1]}"


def centrifugo(folder: Path, ports: list[int]) -> tuple[list[str], str]:
    config = folder / "centrifugo.json"
    text = {
        "http_server": {"address": "127.0.0.1", "port": ports[0]},
        "http_api": {"insecure": True},
        "client": {"insecure": True, "allowed_origins": ["*"], "queue_max_size": BEHIND_BYTES},
        "websocket": {"write_timeout": "60s"},
        "log": {"level": "error"},
        "usage_stats": {"disabled": True},
    }
    config.write_text(json.dumps(text))
    return ["-c", str(config)], f"ws://127.0.0.1:{ports[0]}/connection/websocket"


def centrifugo_protobuf(folder: Path, ports: list[int]) -> tuple[list[str], str]:
    arguments, url = centrifugo(folder, ports)
    return arguments, f"{url}?format=protobuf"


COMMANDS = {
    "tidewire": tidewire,
    "nats": nats,
    "centrifugo": centrifugo,
    "centrifugo-protobuf": centrifugo_protobuf,
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Returns when somebody listens there."""
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nobody listens on port {port} after {START_S_MAX:g} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends this process and no other."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cpu_s(pid: int) -> float:
    """CPU seconds that the threads of a process have spent, in user and kernel mode."""
    spent_ns = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end in between.
        with suppress(FileNotFoundError, ProcessLookupError):
            spent_ns += int((thread / "schedstat").read_text().split()[0])
    return spent_ns / 1e9
