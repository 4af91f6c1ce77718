"""wss:// and QUIC with a pinned certificate, and what the upgrade refuses."""

import asyncio
import ssl
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from conftest import Dialer
from tidewire_stranger.client import LATEST
from tidewire_stranger.links import WrongCertificate
from tidewire_stranger.records import Record

ANOTHER = "00" * 32


async def test_secure_websocket(dial_websocket: Dialer, fresh) -> None:
    topic = fresh("secure")
    async with dial_websocket(tls=True) as secure, dial_websocket() as plain:
        subscription = await secure.subscribe(topic, LATEST)
        await plain.publish(topic, Record(payload=b"x"))
        assert len(await subscription.records(1)) == 1
        assert (await secure.incr(topic)).value == 1


async def test_another_certificate_is_not_spoken_to_over_websocket(daemon) -> None:
    stranger = Dialer(replace(daemon.endpoint, certificate_sha256=ANOTHER), "websocket")
    with pytest.raises(WrongCertificate):
        await stranger.link(tls=True)


async def test_another_certificate_is_not_spoken_to_over_quic(daemon) -> None:
    stranger = Dialer(replace(daemon.endpoint, certificate_sha256=ANOTHER), "quic")
    with pytest.raises(WrongCertificate):
        await stranger.link()


async def test_the_websocket_is_not_compressed(dial_websocket: Dialer) -> None:
    endpoint = dial_websocket.endpoint
    url = f"ws://{endpoint.host}:{endpoint.port}/v1/ws"
    offer = {"subprotocols": ["tidewire.v1"], "compression": "deflate", "proxy": None}
    async with asyncio.timeout(10), connect(url, **offer) as connection:
        assert connection.subprotocol == "tidewire.v1"
        assert connection.protocol.extensions == []


@pytest.mark.parametrize("offered", [None, ["other.v1"]], ids=["none", "another"])
async def test_the_subprotocol_is_required(dial_websocket: Dialer, offered) -> None:
    endpoint = dial_websocket.endpoint
    url = f"ws://{endpoint.host}:{endpoint.port}/v1/ws"
    with pytest.raises(InvalidStatus) as refused:
        async with asyncio.timeout(10), connect(url, subprotocols=offered, proxy=None):
            pass
    assert refused.value.response.status_code == 400


async def test_websocket_pings(dial_websocket: Dialer) -> None:
    async with dial_websocket() as client, asyncio.timeout(10):
        await (await client.link.connection.ping())


async def test_another_quic_protocol_is_refused(dial_quic: Dialer, monkeypatch) -> None:
    monkeypatch.setattr("tidewire_stranger.quic.ALPN", "tidewire/999")
    with pytest.raises((ConnectionError, ssl.SSLError)):
        await dial_quic.link()
