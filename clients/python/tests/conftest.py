"""The server under test."""

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import tidewire

STOP_SECONDS = 20
TEST_SECONDS = 60

CONFIG = """
[[policy]]
names = "safe.>"
durability = "disk"

[[policy]]
names = "small.>"
retention_records = 100

[[policy]]
names = "map.>"
map_keys_max = 10000

[[policy]]
names = "parted.>"
partitions = 4

[[policy]]
names = "eventual.>"
consistency = "eventual"

[[policy]]
names = "removable.>"
allow_delete = true
"""


@dataclass
class Server:
    """A server of the tests' own, on free ports, stopped by its own pid."""

    directory: Path
    config: str
    listen: str = "127.0.0.1:0"

    def start(self) -> None:
        binary = os.environ.get("TIDEWIRE_BIN")
        if not binary:
            pytest.fail("TIDEWIRE_BIN names no server binary: a skipped check has checked nothing")
        file = self.directory / "tidewire.toml"
        file.write_text(self.config)
        command = [binary, "serve", "--json", "--listen", self.listen, "--admin-listen", "127.0.0.1:0"]
        command += ["--config", str(file), "--data-dir", str(self.directory / "data")]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (self.directory / "log").read_text()
        listening = json.loads(line)["listening"]
        self.listen = listening["address"]
        self.fingerprint = listening["certificate_sha256"]
        self.ca_file = listening["certificate_file"]

    def url(self, scheme: str = "ws") -> str:
        return f"{scheme}://{self.listen}"

    def connect(self, scheme: str = "ws", **options: Any) -> tidewire.connect:
        if scheme != "ws":
            options.setdefault("fingerprint", self.fingerprint)
        return tidewire.connect(self.url(scheme), **options)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests share; each uses names of its own."""
    found = Server(tmp_path_factory.mktemp("server"), CONFIG)
    found.start()
    yield found
    found.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that one test may kill."""
    # Over QUIC a server that was killed is noticed by its silence only.
    found = Server(tmp_path, f"heartbeat_ms = 500\n{CONFIG}")
    found.start()
    yield found
    found.stop()


_serial = itertools.count(1)


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Names that no other test uses."""
    return lambda stem: f"{stem}.n{next(_serial)}"
