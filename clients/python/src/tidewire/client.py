"""The client, and how it is connected."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from . import frames as f
from .clock import Clock, SystemClock
from .connector import Connector
from .counter import Counter, Increments
from .entries import LiveMap, PresenceSet
from .errors import ConfigError, ProtocolError
from .names import checked_pattern
from .session import Session, Settings
from .starts import Start
from .state import ConnectionState, StateChange, StateReader, States
from .subscription import Subscription
from .tally import Tally
from .targets import Targets
from .token import Token, TokenCallback
from .topic import Condition, Topic, subscribe_options
from .transport import Dialer, Trust, dial

VERSION = "0.1.0"


class Client:
    """A connection to a server or cluster; made by `connect`. Every request may be sent while others are unanswered."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def topic(self, name: str) -> Topic:
        """A topic: publish, subscribe, history, groups."""
        return Topic(self._session, name)

    def subscribe(
        self,
        pattern: str,
        start: Start = "latest",
        *,
        latest_per_key: bool = False,
        interval_ms: int | None = None,
        filter: Sequence[Condition] = (),
        on_gap: Literal["continue", "jump", "end"] = "continue",
        window_bytes: int | None = None,
    ) -> Subscription:
        """Follows all topics that match a pattern, also those that are made later.

        In a pattern a whole token may be `*`, and the last one `>` (one or more tokens). The other
        arguments are those of `Topic.subscribe`.
        """
        options = subscribe_options(latest_per_key, interval_ms, filter, on_gap, window_bytes)
        return Subscription(self._session.routes, checked_pattern(pattern), start, options)

    def counter(self, name: str) -> Counter:
        """A counter: add, set, read, watch."""
        return Counter(self._session, name)

    def tally(self, name: str) -> Tally:
        """A tally: vote, read, watch."""
        return Tally(self._session, name)

    def map(self, name: str) -> LiveMap:
        """The map of a topic: the newest value per key."""
        return LiveMap(self._session, name)

    def presence(self, name: str) -> PresenceSet:
        """A presence set: who is there."""
        return PresenceSet(self._session, name)

    async def increments(self) -> Increments:
        """Begins a numbering of increments of eventual counters, so that each counts once."""
        reply = await self._session.call(f.Producer(0), repeatable=True)
        producer = (getattr(reply, "result", None) or {}).get("producer")
        if type(producer) is not int:
            raise ProtocolError("the id of a producer expected")
        return Increments(self._session, producer)

    async def authenticate(self, token: str) -> dict[str, Any]:
        """Shows the server a newer token; returns who this is. A token callback does that by itself."""
        return await self._session.authenticate(token)

    async def ping(self) -> float:
        """Asks the server for a sign of life; returns how many seconds that took."""
        return await self._session.ping()

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._session.states.now.state

    @property
    def state_change(self) -> StateChange:
        """The same with the reason."""
        return self._session.states.now

    def states(self) -> StateReader:
        """Iterates over the states, beginning with the one that holds now."""
        return StateReader(self._session.states)

    @property
    def server_info(self) -> dict[str, Any]:
        """What the server has said about itself when the newest connection was made."""
        current = self._session.current
        return dict(current.info) if current is not None else {}

    @property
    def repeated(self) -> int:
        """How often a request was sent again so far."""
        return self._session.requests.repeated

    async def close(self) -> None:
        """Closes the connection: what was asked is answered first, for at most five seconds."""
        await self._session.close()


class connect:
    """Connects to a server: `async with tidewire.connect(url) as client`, or `client = await connect(url)`.

    `url` is `ws://HOST:PORT`, `wss://HOST:PORT` or `quic://HOST:PORT`, or a list of them: nodes of one
    cluster. The first connection fails at once, with the reason. When a later one is lost, the client
    connects again for as long as it takes, after a random delay between the two bounds, unless the
    server's answer leaves no hope (`ConnectionState.FAILED`).

    - `token`, `token_callback`: what proves who this is. The callback (it may be a coroutine function) is
      asked for the first token if none is given, for the next one before the last expires, and when the
      server takes the last one no more.
    - `ca_file`, `fingerprint`: whose certificate to accept, a PEM file or the SHA-256 that the server
      prints. `certificate`, `key`: PEM files that prove who the client is.
    - `offline_queue`: how many requests may wait while there is no connection; beyond that they fail with
      `OfflineQueueFullError`. They wait for as long as it takes; use `asyncio.timeout` to bound that.
    - `repeat_for_ms`: how long a request is sent again that was refused with `unavailable`.
    - `on_state`: is called with each change of the state.
    - `clock`, `dialer`: time, chance and connections, for tests.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        token: str | None = None,
        token_callback: TokenCallback | None = None,
        client_name: str = f"tidewire-python/{VERSION}",
        ca_file: str | Path | None = None,
        fingerprint: str | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        connect_timeout_ms: int = 5_000,
        reconnect: bool = True,
        backoff_min_ms: int = 500,
        backoff_max_ms: int = 20_000,
        offline_queue: int = 1_000,
        repeat_for_ms: int = 15_000,
        on_state: Callable[[StateChange], None] | None = None,
        clock: Clock | None = None,
        dialer: Dialer | None = None,
    ) -> None:
        if len(client_name.encode()) > 128:
            raise ConfigError("the client's name has at most 128 bytes")
        if backoff_min_ms < 1 or offline_queue < 0 or connect_timeout_ms < 1:
            raise ConfigError("delays are 1 ms at least, and offline_queue is not negative")
        self._settings = Settings(
            clock=clock or SystemClock(),
            backoff_ms=(backoff_min_ms, backoff_max_ms),
            reconnect=reconnect,
            offline_queue=offline_queue,
            repeat_for_ms=repeat_for_ms,
        )
        self._targets = Targets([url] if isinstance(url, str) else url)
        self._dialer = dialer or dial(Trust.of(ca_file, fingerprint, certificate, key))
        self._token = (token, token_callback)
        self._client_name, self._timeout_ms, self._on_state = client_name, connect_timeout_ms, on_state
        self._client: Client | None = None

    async def _connect(self) -> Client:
        connector = Connector(
            targets=self._targets,
            dial=self._dialer,
            token=Token(*self._token, self._settings.clock),
            client_name=self._client_name,
            timeout_ms=self._timeout_ms,
            moves=self._settings.reconnect,
        )
        session = Session(connector, self._settings, States(self._on_state))
        await session.start()
        self._client = Client(session)
        return self._client

    def __await__(self) -> Generator[Any, None, Client]:
        return self._connect().__await__()

    async def __aenter__(self) -> Client:
        return await self._connect()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()
