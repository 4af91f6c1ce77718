"""What others make of the JSON Schema of the configuration, and whether the server agrees with it."""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tidewire_stranger import daemon

FOLDER = Path(__file__).parents[2] / "config"
SCHEMA = json.loads((FOLDER / "tidewire.schema.json").read_text())
SHIPPED = (FOLDER / "tidewire.toml").read_text()
PATIENCE_SECONDS = 20


def is_valid(config: dict[str, Any]) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(config)


def with_examples() -> str:
    """The shipped file with everything in it that stands in a comment and is no prose."""
    lines = []
    for line in SHIPPED.splitlines():
        if re.match(r"# ([a-z0-9_]+ = |\[\[|    \{|\]$|# )", line):
            line = line[2:]
        lines.append(line)
    return "\n".join(lines)


def numbers(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Keys of whole numbers outside the lists of tables, and their bounds."""
    for name, each in schema.get("properties", {}).items():
        if each.get("type") == "integer":
            yield (*path, name), each["minimum"], each["maximum"]
        yield from numbers(each, (*path, name))


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def check(tmp_path: Path, path: tuple[str, ...], value: int) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "tidewire.toml"
    file.write_text(f"{'.'.join(path)} = {value}\n")
    command = [daemon.binary(), "config", "check", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_the_server_prints_it() -> None:
    command = [daemon.binary(), "config", "schema"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert json.loads(printed.stdout) == SCHEMA


def test_the_shipped_file_is_valid() -> None:
    assert is_valid(tomllib.loads(SHIPPED))


def test_the_shipped_file_is_valid_with_its_examples() -> None:
    config = tomllib.loads(with_examples())
    for found in (config["data_dir"], config["auth"]["role"][0]["rules"], config["policy"][0]["ack"]):
        assert found
    assert {"role", "token_key", "api_key", "certificate"} <= config["auth"].keys()
    errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(config)]
    assert errors == []


@pytest.mark.parametrize(
    "text",
    [
        "lissten = '127.0.0.1:1'",
        "[limits]\nnames_max = '1'",
        "[limits]\nnames = 1",
        "[[policy]]\nretention_ms = 1",
        "[[policy]]\nnames = 'a'\ndurability = 'disc'",
        "[[auth.api_key]]\nname = 'a'\nsha256 = 'short'\nroles = []",
    ],
)
def test_what_the_server_refuses_is_not_valid(text: str) -> None:
    assert not is_valid(tomllib.loads(text))


@pytest.mark.parametrize("number", list(numbers(SCHEMA)), ids=lambda number: ".".join(number[0]))
def test_schema_and_server_have_the_same_bounds(number, tmp_path: Path) -> None:
    path, least, most = number
    assert is_valid(nested(path, least)) and is_valid(nested(path, most))
    for value in (least - 1, most + 1):
        assert not is_valid(nested(path, value))
        refused = check(tmp_path, path, value)
        assert refused.returncode == 2, refused
        assert f"tidewire.toml:1:{len('.'.join(path)) + 4}: " in refused.stderr, refused.stderr
