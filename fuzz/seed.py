"""Makes the seeds in `corpus/` anew, from the golden vectors and a running daemon.

    TIDEWIRE_BIN=target/debug/tidewire target/python/bin/python fuzz/seed.py

The Python is that of `tests/stranger`.
"""

import asyncio
import json
import re
import shutil
import struct
import sys
import tempfile
import time
from pathlib import Path

FUZZ = Path(__file__).resolve().parent
ROOT = FUZZ.parent
sys.path.insert(0, str(ROOT / "tests/stranger"))

from tidewire_stranger import daemon as daemons  # noqa: E402
from tidewire_stranger.client import Client  # noqa: E402
from tidewire_stranger.links import Endpoint  # noqa: E402
from tidewire_stranger.raw_http import Wire  # noqa: E402
from tidewire_stranger.records import Record  # noqa: E402
from tidewire_stranger.tokens import by_secret, part, token  # noqa: E402
from tidewire_stranger.websocket import WebSocketLink  # noqa: E402

SECRET = b"the secret that fuzzing signs with"
SEED_BYTES_MAX = 4096
SEEDS_MAX = 60
CONFIG = '[[policy]]\nnames = ">"\ndurability = "disk"\nmap_keys_max = 10\n'
# CRC-32C (RFC 3720, appendix B.4), a byte at a time.
CRC = [0] * 256
for byte in range(256):
    CRC[byte] = byte
    for _ in range(8):
        CRC[byte] = CRC[byte] >> 1 ^ (0x82F63B78 if CRC[byte] & 1 else 0)


def keep(target: str, seeds: list[bytes]) -> None:
    """Those that differ, of all kinds in even steps if there are too many."""
    seeds = sorted({seed for seed in seeds if 0 < len(seed) <= SEED_BYTES_MAX})
    step = max(1, -(-len(seeds) // SEEDS_MAX))
    folder = FUZZ / "corpus" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, seed in enumerate(seeds[::step]):
        (folder / f"{number:03}").write_bytes(seed)
    print(f"{target}: {len(seeds[::step])} seeds")


def vectors() -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {"client": [], "server": [], "bodies": []}
    for file in (ROOT / "protocol/vectors").glob("*.json"):
        content = json.loads(file.read_text())
        for each in content.get("vectors", []):
            found[each["direction"]].append(bytes.fromhex(each["bytes"]))
        for each in content.get("bodies", []):
            found["bodies"].append(bytes.fromhex(each["body"]))
    return found


def names() -> list[bytes]:
    content = json.loads((ROOT / "protocol/vectors/names.json").read_text())
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    seeds = [f"{name}\n{name}\n>".encode() for name in lists["names_valid"]]
    return seeds + [b"a.*\na.b\n*.b", b">\n$sys.audit\n$sys.>", b"*.b.>\na.b.c\na.*.c", b"a..b\na.\n>.a"]


def framed(payload: bytes, first: int = 0x82, mask: bytes = b"mask") -> bytes:
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([first]) + length + mask + masked


def websocket() -> list[bytes]:
    parts = [
        framed(b"one"),
        framed(b""),
        framed(b"x" * 300),
        framed(b"be", 0x02) + framed(b"gi", 0x00) + framed(b"ping", 0x89) + framed(b"n", 0x80),
        framed(b"ping", 0x89),
        framed(b"", 0x8A),
        framed(b"\x03\xe8bye", 0x88),
        framed(b"\x03", 0x88),
        framed(b"text", 0x81),
        framed(b"x", 0xC2),
        framed(b"x", 0x83),
        framed(b"x" * 513),
        b"\x82\xff" + b"\xff" * 8,
    ]
    cuts = [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\3\0\7\1"]
    return [cut + each for cut in cuts for each in (*parts, b"".join(parts[:6]))]


def tokens() -> list[bytes]:
    claims = [
        {"sub": "ann", "exp": 9999999999},
        {"sub": "ann", "exp": 1.5, "nbf": 0, "iat": 1, "jti": "7", "roles": ["viewer"]},
        {"sub": "a", "exp": 1, "aud": ["x"], "iss": "y", "permissions": [{"names": "a.>", "allow": ["vote"]}]},
        {"sub": "", "exp": -1},
    ]
    seeds = [json.dumps(each).encode() for each in claims]
    for head in ({"alg": "HS256"}, {"alg": "none"}, {"alg": "HS256", "kid": "a", "crit": ["b64"]}, {"alg": "EdDSA"}):
        seeds += [token(head, each, by_secret(SECRET)).encode() for each in claims]
    return seeds + [b"a.b.c", b"..", part(b"{}").encode() + b".." + part(b"x").encode()]


def configs() -> list[bytes]:
    text = (ROOT / "config/tidewire.toml").read_text()
    bare = "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))
    # What is a comment in it, and a section of its own.
    hidden = re.sub(r"(?m)^# (?=[\[\w{}])|^#  +(?=[\w{])|^#$", "", text)
    sections = [part for part in re.split(r"\n(?=\[)", hidden) if part.startswith("[")]
    plain = ["\n".join(line for line in each.splitlines() if not line.startswith("#")) for each in sections]
    return [each.encode() for each in [bare, *plain]]


def ballots() -> list[bytes]:
    rows = (ROOT / "src/demo/data/minneapolis-2013.csv").read_bytes().splitlines(keepends=True)
    return [b"".join(rows[:20]), b'a,b\n"x ""y""",overvote\n,z\n', b"a;b\n1;2\n", b"count,a\n3,x\n0,y\n"]


def frames(file: bytes, preamble: int, order: str, numbered: bool) -> list[tuple[int, bytes]]:
    """Kind and payload of each frame: length, checksum, kind, payload."""
    found, at = [], preamble
    while at < len(file):
        (length,) = struct.unpack_from(f"{order}I", file, at)
        kind, payload = file[at + 8], file[at + 9 : at + 8 + length]
        found.append((kind - 1 if numbered else kind, payload))
        at += 8 + length
    return found


def as_input(frames: list[tuple[int, bytes]]) -> bytes:
    """As the targets take frames: kind, length, payload."""
    return b"".join(struct.pack("<BH", kind, len(payload)) + payload for kind, payload in frames)


def one_shard(saved: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """The same backup with the shard only that says least."""
    header = {**json.loads(saved[0][1]), "shards": 1}
    ends = [at for at, (kind, _) in enumerate(saved) if kind == 2]
    begins = [1, *(end + 1 for end in ends[:-1])]
    spans = [saved[begin : end + 1] for begin, end in zip(begins, ends, strict=True)]
    shard = min(spans, key=lambda span: sum(len(payload) for _, payload in span))
    (size,) = struct.unpack(">Q", shard[-1][1][2:])
    end = {"shards": 1, "bytes": size}
    return [(0, json.dumps(header).encode()), *shard, (3, json.dumps(end).encode())]


def of_a_group(block: bytes, kind: int) -> bytes:
    """The same block as one that a group has decided: version 2, with a kind and a term."""
    rest = bytes([2, kind]) + block[6:48] + struct.pack(">Q", 7) + block[48:]
    checksum = 0xFFFFFFFF
    for byte in rest:
        checksum = CRC[(checksum ^ byte) & 0xFF] ^ checksum >> 8
    return struct.pack(">I", checksum ^ 0xFFFFFFFF) + rest


def blocks(file: bytes) -> list[bytes]:
    """Whatever in a file has the checksum of a block before it: the database keeps them as they are."""
    found, at = [], -1
    while (at := file.find(b"\x01\x00\x00", at + 1)) >= 0:
        begin, checksum = at - 4, 0xFFFFFFFF
        said = int.from_bytes(file[begin:at], "big")
        for end in range(at, min(at + SEED_BYTES_MAX, len(file))):
            checksum = CRC[(checksum ^ file[end]) & 0xFF] ^ checksum >> 8
            if end - begin >= 48 and checksum ^ 0xFFFFFFFF == said:
                found.append(file[begin : end + 1])
                break
    return found


def call(admin: Endpoint, method: str, path: str, body: str = "") -> bytes:
    with Wire(admin) as wire:
        headers = f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: {wire.host}\r\n{headers}\r\n{body}".encode())
        head, rest = wire.rest().split(b"\r\n\r\n", 1)
    if b"transfer-encoding: chunked" not in head.lower():
        return rest
    whole = b""
    while (size := int(rest.split(b"\r\n", 1)[0], 16)) > 0:
        rest = rest.split(b"\r\n", 1)[1]
        whole, rest = whole + rest[:size], rest[size + 2 :]
    return whole


async def use(endpoint: Endpoint) -> None:
    async with await Client.open(await WebSocketLink.open(endpoint)) as client:
        for number in range(4):
            await client.publish("a", Record(key=f"{number}", headers={"h": "1"}, payload=b"x"))
        await client.publish("b", Record(key="0", payload=None))
        await client.incr("c", 7, min=0, max=9)
        await client.create_tally("d", "ranked", ["x", "y"])
        await client.vote("d", "ann", [0, 1])
        await client.join("e", "ann", b"here")


def of_a_daemon() -> None:
    with tempfile.TemporaryDirectory() as folder:
        daemon = daemons.start(Path(folder), CONFIG)
        admin = Endpoint.parse(daemon.admin, "")
        try:
            call(admin, "POST", "/v1/recording", '{"name": "seed", "max_seconds": 60}')
            asyncio.run(use(daemon.endpoint))
            backup = call(admin, "GET", "/v1/backup")
            call(admin, "DELETE", "/v1/recording")
            file = Path(folder) / "data/recordings/seed"
            deadline = time.monotonic() + 10
            while b"stopped" not in (recording := file.read_bytes()) and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            daemon.stop()
        database = (Path(folder) / "data/journal/db").read_bytes()
    kept = frames(recording, 20, "<", numbered=False)
    keep("recording", [recording[:300], as_input(kept[:8])] + [as_input([each]) for each in kept])
    # The target numbers the kinds from 0 on.
    saved = frames(backup, 16, ">", numbered=True)
    small = [as_input([each]) for each in saved if len(each[1]) < SEED_BYTES_MAX]
    keep("backup", [backup[:300], as_input(one_shard(saved)), *small])
    found = blocks(database)
    keep("block", found + [of_a_group(found[0], kind) for kind in range(3)])


def main() -> None:
    found = vectors()
    keep("client_frames", found["client"] + [b"".join(found["client"][:5])])
    keep("server_frames", found["server"])
    keep("records", found["bodies"])
    keep("names", names())
    keep("websocket", websocket())
    keep("token", tokens())
    keep("config", configs())
    keep("ballots", ballots())
    of_a_daemon()


if __name__ == "__main__":
    main()
