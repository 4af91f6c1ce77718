"""TLS settings, and the certificate that is pinned."""

import hashlib
import ssl

from ..errors import ConfigError, UntrustedError
from ..targets import Target
from .link import Trust


def ssl_context(trust: Trust) -> ssl.SSLContext:
    """The settings of a `wss://` connection."""
    try:
        context = ssl.create_default_context(cafile=None if trust.ca_file is None else str(trust.ca_file))
        if trust.certificate is not None and trust.key is not None:
            context.load_cert_chain(trust.certificate, trust.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"a certificate or key file cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust.fingerprint is not None:
        # The one certificate is compared instead, before anything secret is sent.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_pinned(target: Target, trust: Trust, der: bytes | None) -> None:
    """Refuses any certificate but the pinned one."""
    if trust.fingerprint is None:
        return
    found = hashlib.sha256(der or b"").digest()
    if found != trust.fingerprint:
        raise UntrustedError(target.url, f"its SHA-256 is {found.hex()}, not the pinned one")
