"""The examples run, and so does one of them from the wheel alone."""

import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60


def ran(python: str | Path, example: str, *arguments: str, path: str | None = str(ROOT / "src")) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        env["PYTHONPATH"] = path
    done = subprocess.run(
        [str(python), str(ROOT / "examples" / example), *arguments],
        env=env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_job_queue_does_every_job_or_says_why_not(server: Any) -> None:
    out = ran(sys.executable, "job_queue.py", server.url(), "30")
    assert "28 jobs done, 2 given up, 0 left, 5 tried again" in out
    made = re.findall(r"(worker \d) has made a thumbnail of (img-\d+\.png)", out)
    assert sorted(image for _, image in made) == sorted(f"img-{n}.png" for n in range(30) if n not in (3, 5))
    assert {worker for worker, _ in made} == {"worker 1", "worker 2", "worker 3"}
    assert re.findall(r"img-(?:3|7)\.png is not uploaded yet, attempt (\d)", out).count("1") == 2
    assert "given up after 3 of 3 attempts: img-3.png: img-3.png is not uploaded yet" in out
    assert "given up after 1 of 3 attempts: img-5.txt: this is no image" in out


def test_the_live_tally_counts_every_voter(server: Any) -> None:
    out = ran(sys.executable, "live_tally.py", server.url(), "100")
    assert "100 have voted, the poll is closed" in out
    shown = re.findall(r"pizza +(\d+)  salad +(\d+)  soup +(\d+)", out)
    assert sum(map(int, shown[-1])) == 100


def test_the_ticker_shows_the_newest_prices_only(server: Any) -> None:
    out = ran(sys.executable, "ticker.py", server.url(), "2")
    found = re.search(r"([\d,]+) updates/s in, ([\d.]+) screens/s out.* (\d+) ms old", out)
    assert found is not None, out
    assert int(found[1].replace(",", "")) > 2_000
    assert 2 <= float(found[2]) <= 12
    assert int(found[3]) < SECONDS_MAX * 1_000
    counts = re.search(r"([\d,]+) updates published, ([\d,]+) shown, ([\d,]+) conflated", out)
    assert counts is not None, out
    published, shown, conflated = (int(count.replace(",", "")) for count in counts.groups())
    assert published == shown + conflated
    # Five symbols, and at most a screen more than there are intervals.
    assert 5 <= shown <= 5 * 25


def test_the_first_program_of_the_readme_shows_a_tally(server: Any) -> None:
    program = (ROOT / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len([line for line in program.splitlines() if line.strip()]) < 10
    program = program.replace("ws://127.0.0.1:7171", server.url())
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    overdue = threading.Timer(SECONDS_MAX, process.kill)
    overdue.start()
    assert process.stdout is not None
    line = process.stdout.readline()
    process.kill()
    process.wait()
    overdue.cancel()
    assert "options=('pizza', 'salad'), counts=(1, 0)" in line


def test_the_wheel_is_enough(server: Any, tmp_path: Path) -> None:
    """Builds the wheel, installs it into an empty environment, and runs an example from there."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=SECONDS_MAX)
    (wheel,) = tmp_path.glob("tidewire-0.1.0-py3-none-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "tidewire/py.typed" in names
    assert any(name.endswith("licenses/LICENSE-MIT") for name in names)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True, timeout=SECONDS_MAX)
    python = tmp_path / "env" / "bin" / "python"
    install = [str(python), "-m", "pip", "install", "--quiet", str(wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=180)
    out = ran(python, "live_tally.py", server.url(), "50", path=None)
    assert "50 have voted" in out
