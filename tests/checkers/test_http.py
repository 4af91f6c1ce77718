"""What Schemathesis makes of the HTTP API: each answer is as the description says, and none is a fault of the server."""

import subprocess
import sys
from pathlib import Path

import pytest
from tidewire_stranger import daemon

SECONDS_MAX = 300

# Events do not end. What a name or a key may be made of is more than a schema can say, so what it allows may be
# refused; what it forbids may not be taken.
OPTIONS = [
    "--exclude-path-regex", "/events$",
    "--exclude-checks", "positive_data_acceptance",
    "--max-examples", "40",
    "--generation-deterministic",
    "--workers", "1",
]


def test_answers_are_as_described(tmp_path: Path) -> None:
    server = daemon.start(tmp_path)
    try:
        description = f"http://{server.endpoint.host}:{server.endpoint.port}/v1/openapi.json"
        command = [str(Path(sys.executable).with_name("schemathesis")), "run", description, *OPTIONS]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX)
        assert done.returncode == 0, done.stdout[-8000:]
        assert "tested: 9" in done.stdout.lower(), done.stdout[-8000:]
    finally:
        server.stop()
