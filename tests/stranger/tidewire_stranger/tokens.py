"""JSON Web Tokens by hand (RFC 7515, 7518, 7519), also those that no library makes."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

Sign = Callable[[bytes], bytes]


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(header: dict[str, Any] | str, claims: dict[str, Any] | str, sign: Sign) -> str:
    """A token of these parts; a text stands for itself."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in (header, claims)]
    signed = ".".join(part(text.encode()) for text in texts)
    return f"{signed}.{part(sign(signed.encode()))}"


def unsigned(_: bytes) -> bytes:
    return b""


def by_secret(secret: bytes, algorithm: str = "sha256") -> Sign:
    return lambda signed: hmac.new(secret, signed, getattr(hashlib, algorithm)).digest()


def by_key(key: Any) -> Sign:
    """The signature that the kind of key is for: EdDSA, ES256 or RS256."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign
    if isinstance(key, rsa.RSAPrivateKey):
        return lambda signed: key.sign(signed, padding.PKCS1v15(), hashes.SHA256())

    def sign(signed: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def public_forms(key: Any) -> dict[str, bytes]:
    """The public key in all forms that somebody could take for a secret."""
    public, encoding, form = key.public_key(), serialization.Encoding, serialization.PublicFormat
    info = form.SubjectPublicKeyInfo
    pem = public.public_bytes(encoding.PEM, info)
    forms = {
        "PEM": pem,
        "PEM without its last line end": pem.rstrip(b"\n"),
        "PEM with CRLF": pem.replace(b"\n", b"\r\n"),
        "Base64": b"".join(pem.splitlines()[1:-1]),
        "DER": public.public_bytes(encoding.DER, info),
        "nothing": b"",
        "zeros": bytes(32),
    }
    if isinstance(key, ed25519.Ed25519PrivateKey):
        forms["raw"] = public.public_bytes(encoding.Raw, form.Raw)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        forms["point"] = public.public_bytes(encoding.X962, form.UncompressedPoint)
    if isinstance(key, rsa.RSAPrivateKey):
        forms["PKCS 1"] = public.public_bytes(encoding.PEM, form.PKCS1)
    return forms
