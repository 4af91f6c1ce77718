"""Starts the daemon under test and stops it."""

import json
import os
import queue
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from .links import Endpoint

START_SECONDS = 20
STOP_SECONDS = 20


@dataclass
class Daemon:
    process: subprocess.Popen[str]
    endpoint: Endpoint
    admin: str

    def resident_kib(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("the daemon has no resident memory: it is dead")

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def tcp_connections(self) -> int:
        """Accepted TCP connections that the daemon has not closed."""
        count = 0
        for line in Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[at] for at in (1, 3, 9))
            listens, closed = state == "0A", inode == "0"
            if int(local.split(":")[1], 16) == self.endpoint.port and not (listens or closed):
                count += 1
        return count

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"SIGTERM did not end it within {STOP_SECONDS} s") from None


def binary() -> str:
    path = os.environ.get("TIDEWIRE_BIN")
    if not path:
        raise RuntimeError("set TIDEWIRE_BIN to the tidewire executable")
    if not os.access(path, os.X_OK):
        raise RuntimeError(f"TIDEWIRE_BIN is {path}: no executable file")
    return path


def start(directory: Path, config: str | None = None) -> Daemon:
    data = directory / "data"
    data.mkdir(parents=True)
    command = [binary(), "serve", "--json", "--listen", "127.0.0.1:0"]
    command += ["--admin-listen", "127.0.0.1:0", "--data-dir", str(data)]
    if config is not None:
        (directory / "tidewire.toml").write_text(config)
        command += ["--config", str(directory / "tidewire.toml")]
    log = (directory / "log").open("w")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        listening = json.loads(_first_line(process))["listening"]
        endpoint = Endpoint.parse(listening["address"], listening["certificate_sha256"])
        return Daemon(process, endpoint, listening["admin"])
    except BaseException as problem:
        process.kill()
        process.wait()
        log.close()
        raise RuntimeError((directory / "log").read_text()[-2000:]) from problem


def _first_line(process: subprocess.Popen[str]) -> str:
    """The first line of standard output. Reads on, so that the pipe never fills."""
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines.get(timeout=START_SECONDS)
