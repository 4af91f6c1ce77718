"""Going to another node because the server asks for it: first there is a connection to the other one."""

import logging
from collections.abc import Callable

from . import frames as f
from .clock import Clock
from .connector import Connector, Established, server_is_leaving
from .errors import TidewireError

log = logging.getLogger("tidewire")

#: Longest pause before another node is dialed, so that not all clients of a server come at once.
_PAUSE_S = 1.0


async def find_another(
    connector: Connector,
    clock: Clock,
    goaway: f.GoAway,
    here: Established,
    give_up: Callable[[Established], None],
) -> Established | None:
    """A connection to another node than this one; None if there is none."""
    targets = connector.targets
    targets.learn(goaway.nodes or [])
    candidates = targets.beginning_with(goaway.nodes or [], here.target)
    if not server_is_leaving(goaway.code):
        # Behind one address there may be several nodes.
        candidates.append(here.target)
    if not candidates:
        return None
    await clock.sleep(min(_PAUSE_S, goaway.grace_ms / 4000) * clock.random())
    for target in candidates:
        try:
            found = await connector.connect(target)
        except TidewireError as error:
            log.debug("not connected: %s", error)
            continue
        if found.is_another(here):
            return found
        give_up(found)
    return None
