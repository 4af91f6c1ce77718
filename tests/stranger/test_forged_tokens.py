"""Tokens that nobody signed who may: another algorithm, another key, keys and orders that a token brings itself."""

import json
import socket
import threading
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from conftest import Dialer
from tidewire_stranger import daemon as daemons
from tidewire_stranger.codes import Code
from tidewire_stranger.following import Refused
from tidewire_stranger.tokens import by_key, by_secret, part, public_forms, token, unsigned

KEYS: dict[str, Any] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}
SECRET = b"the secret of these tests, of more than 32 bytes"
STRANGERS: dict[str, Any] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
}

KEY = """
[[auth.token_key]]
id = "{id}"
algorithm = "{id}"
file = "{file}"
"""


@pytest.fixture(scope="module")
def dial(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("forged")
    files = {name: public_forms(key)["PEM"] for name, key in KEYS.items()} | {"HS256": SECRET}
    config = '[[auth.role]]\nname = "all"\nrules = [{ names = ">", allow = ["incr"] }]\n'
    for name, content in files.items():
        (directory / name).write_bytes(content)
        config += KEY.format(id=name, file=directory / name)
    daemon = daemons.start(directory, config)
    yield Dialer(daemon.endpoint, "websocket")
    assert daemon.stop() == 0


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "ann", "exp": int(time.time()) + 600, "roles": ["all"], **more}


def head(name: str, **more: Any) -> dict[str, Any]:
    return {"alg": name, "kid": name, "typ": "JWT", **more}


async def let_in(dial: Dialer, shown: str) -> None:
    async with dial(token=shown) as client:
        assert client.welcome.info["identity"]["subject"] == "ann"


async def kept_out(dial: Dialer, shown: str) -> str:
    with pytest.raises(Refused) as refused:
        async with dial(token=shown):
            pass
    assert refused.value.code == Code.UNAUTHENTICATED
    return str(refused.value)


def signer(name: str) -> Any:
    return by_secret(SECRET) if name == "HS256" else by_key(KEYS[name])


@pytest.mark.parametrize("name", [*KEYS, "HS256"])
async def test_what_is_signed_by_its_key_is_let_in(dial: Dialer, name: str) -> None:
    """Else what is kept out below would say nothing."""
    await let_in(dial, token(head(name), claims(), signer(name)))


@pytest.mark.parametrize("form", sorted({form for key in KEYS.values() for form in public_forms(key)}))
@pytest.mark.parametrize("name", KEYS)
async def test_a_public_key_is_no_secret(dial: Dialer, name: str, form: str) -> None:
    secret = public_forms(KEYS[name]).get(form)
    if secret is None:
        return  # a form of other keys
    for hashed in ("sha256", "sha384", "sha512"):
        forged = head(f"HS{hashed[3:]}", kid=name)
        await kept_out(dial, token(forged, claims(), by_secret(secret, hashed)))
        # And where the algorithm stands as it should be.
        await kept_out(dial, token(head(name), claims(), by_secret(secret, hashed)))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", " ", "none ", "null"])
@pytest.mark.parametrize("name", [*KEYS, "HS256"])
async def test_what_is_not_signed_is_kept_out(dial: Dialer, name: str, alg: str) -> None:
    for sign in (unsigned, signer(name), by_secret(b"")):
        await kept_out(dial, token(head(alg, kid=name), claims(), sign))


@pytest.mark.parametrize("alg", ['null', '["HS256"]', '{"a": 1}', "0", "true"])
async def test_an_algorithm_is_a_name(dial: Dialer, alg: str) -> None:
    header = f'{{"alg": {alg}, "kid": "HS256"}}'
    await kept_out(dial, token(header, claims(), by_secret(SECRET)))


async def test_an_algorithm_stands_once(dial: Dialer) -> None:
    for header in (
        '{"alg": "none", "alg": "HS256", "kid": "HS256"}',
        '{"alg": "HS256", "alg": "none", "kid": "HS256"}',
        '{"alg": "HS256", "kid": "HS256", "kid": "EdDSA"}',
        '{"alg": "hs256", "kid": "HS256"}',
        '{"ALG": "HS256", "kid": "HS256"}',
    ):
        await kept_out(dial, token(header, claims(), by_secret(SECRET)))


@pytest.mark.parametrize("name", [*KEYS, "HS256"])
async def test_a_key_signs_with_its_algorithm_only(dial: Dialer, name: str) -> None:
    for other in (*KEYS, "HS256", "HS384", "HS512", "RS384", "RS512", "PS256", "ES384", "ES512"):
        if other != name:
            await kept_out(dial, token(head(other, kid=name), claims(), signer(name)))


@pytest.mark.parametrize("name", KEYS)
async def test_a_signature_is_whole_and_by_this_key(dial: Dialer, name: str) -> None:
    good = token(head(name), claims(), signer(name))
    said, signature = good.rsplit(".", 1)
    other = token(head(name), claims(sub="eve"), signer(name))
    forged = [
        token(head(name), claims(), by_key(STRANGERS[name])),
        f"{said}.",
        said,
        f"{said}.{signature[:-4]}",
        f"{said}.{signature}AAAA",
        f"{said}.{part(bytes(64))}",
        f"{said}.{other.rsplit('.', 1)[1]}",
        f"{said}.{signature}.{signature}",
        f" {good}",
        f"{good} ",
        f"{good}\n",
        f"{good}\0",
        f"Bearer {good}",
        good.replace(".", "..", 1),
        f"{said}={'.'}{signature}",
        other.split(".")[0] + "." + other.split(".")[1] + "." + signature,
    ]
    for each in forged:
        await kept_out(dial, each)


async def test_a_signature_of_zeros_is_none(dial: Dialer) -> None:
    """CVE-2022-21449 let everything pass."""
    for sign in (bytes(64), bytes(63) + b"\1", b"\xff" * 64, b"\x30\x06\x02\x01\x00\x02\x01\x00"):
        await kept_out(dial, token(head("ES256"), claims(), lambda _, sign=sign: sign))


KIDS = [
    "../../../../dev/null",
    "/dev/null",
    "/proc/sys/kernel/randomize_va_space",
    "file:///dev/null",
    "HS256\0",
    "hs256",
    "HS256/../EdDSA",
    "' OR '1'='1",
    "x' UNION SELECT 'secret",
    "| sleep 10",
    "$(id)",
    "",
    "a" * 10_000,
]


@pytest.mark.parametrize("kid", KIDS, ids=lambda kid: f"{kid:.20}")
async def test_a_key_is_found_by_its_id_only(dial: Dialer, kid: str) -> None:
    for secret in (b"", SECRET, b"2\n", b"0\n"):
        await kept_out(dial, token(head("HS256", kid=kid), claims(), by_secret(secret)))


async def test_where_there_are_several_keys_a_token_names_its_own(dial: Dialer) -> None:
    assert "kid" in await kept_out(dial, token({"alg": "HS256"}, claims(), by_secret(SECRET)))


def jwk(key: Any, name: str) -> dict[str, Any]:
    """The public part of an Ed25519 or P-256 key."""
    if name == "EdDSA":
        raw = public_forms(key)["raw"]
        return {"kty": "OKP", "crv": "Ed25519", "x": part(raw), "alg": name, "kid": name}
    point = public_forms(key)["point"]
    x, y = part(point[1:33]), part(point[33:])
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y, "alg": name, "kid": name}


class Listening:
    """A web server that nobody should call."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d/keys.json" % self.socket.getsockname()[1]
        self.called = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            self.socket.accept()[0].close()
        except OSError:
            return
        self.called.set()


@pytest.mark.parametrize("name", ["EdDSA", "ES256"])
async def test_a_key_that_a_token_brings_is_not_looked_at(dial: Dialer, name: str) -> None:
    stranger = STRANGERS[name]
    evil = Listening()
    try:
        for brought in (
            {"jwk": jwk(stranger, name)},
            {"jku": evil.url},
            {"x5u": evil.url},
            {"jku": f"file:///dev/null#{evil.url}"},
            {"x5c": [part(public_forms(stranger)["DER"])]},
            {"jwk": jwk(stranger, name), "jku": evil.url, "x5u": evil.url},
        ):
            await kept_out(dial, token(head(name, **brought), claims(), by_key(stranger)))
            await kept_out(dial, token(head(name, kid="new", **brought), claims(), by_key(stranger)))
        # Beside a right signature it changes nothing, whatever it is.
        await let_in(dial, token(head(name, jku=evil.url, x5u=evil.url), claims(), signer(name)))
        assert not evil.called.is_set()
    finally:
        evil.socket.close()


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["exp"]},
        {"crit": ["https://example.com/must"], "https://example.com/must": True},
        {"crit": []},
        {"crit": ["alg"]},
        {"crit": "exp"},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
    ],
    ids=json.dumps,
)
async def test_what_must_be_understood_is_not_passed_over(dial: Dialer, more: dict) -> None:
    """RFC 7515, section 4.1.11, and RFC 7797: a token is never taken otherwise than it was meant."""
    await kept_out(dial, token(head("HS256", **more), claims(), by_secret(SECRET)))


async def test_an_encrypted_token_is_none(dial: Dialer) -> None:
    header = {"alg": "dir", "enc": "A256GCM", "kid": "HS256", "zip": "DEF"}
    parts = [part(json.dumps(header).encode()), "", part(bytes(12)), part(b"x" * 64), part(bytes(16))]
    await kept_out(dial, ".".join(parts))


@pytest.mark.parametrize(
    "said",
    [
        '{"sub": "ann", "sub": "eve", "exp": 9999999999}',
        '{"sub": "ann", "exp": 1, "exp": 9999999999}',
        '{"sub": "ann", "exp": "9999999999"}',
        '{"sub": "ann", "exp": -1}',
        '{"sub": "ann", "exp": 1e999}',
        '{"sub": "ann", "exp": null}',
        '{"sub": "ann"}',
        '{"sub": null, "exp": 9999999999}',
        '{"sub": ["ann"], "exp": 9999999999}',
        '{"exp": 9999999999}',
        "[]",
        "null",
        '"ann"',
        "",
        "{" * 5_000,
        '{"sub": "ann", "exp": 9999999999, "x": ' + "[" * 10_000 + "]" * 10_000 + "}",
        '{"sub": "ann", "exp": 9999999999} {}',
    ],
    ids=lambda said: f"{said:.50}",
)
async def test_claims_that_say_nothing_definite(dial: Dialer, said: str) -> None:
    await kept_out(dial, token(head("HS256"), said, by_secret(SECRET)))


async def test_a_token_has_its_length(dial: Dialer) -> None:
    long = token(head("HS256"), claims(x="a" * 20_000), by_secret(SECRET))
    assert "at most" in await kept_out(dial, long)
    many = token(head("HS256"), claims(roles=["all"] * 65), by_secret(SECRET))
    assert "at most" in await kept_out(dial, many)
