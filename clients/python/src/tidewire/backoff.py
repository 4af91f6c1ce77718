"""How long to wait before the next attempt."""

_DOUBLINGS_MAX = 16


class Backoff:
    """Delays with full jitter: the n-th one in a row lies between the shortest delay and
    `shortest * 2**n`, at most the longest, so that the clients of a server that restarts do not come
    back all at once.
    """

    def __init__(self, shortest_ms: int, longest_ms: int) -> None:
        self._shortest_ms = shortest_ms
        self._longest_ms = max(shortest_ms, longest_ms)
        self._attempt = 0
        self._has_hurried = False

    def next_s(self, random: float) -> float:
        """Seconds until the next attempt; `random` is drawn from 0 to 1."""
        self._attempt = min(self._attempt + 1, _DOUBLINGS_MAX)
        ceiling_ms = min(self._shortest_ms << self._attempt, self._longest_ms)
        return (self._shortest_ms + (ceiling_ms - self._shortest_ms) * random) / 1000

    def next_elsewhere_s(self, random: float) -> float:
        """The same where there is another server to go to: short, but only once in a row."""
        if self._has_hurried:
            return self.next_s(random)
        self._has_hurried = True
        return self._shortest_ms * random / 1000

    def reset(self) -> None:
        """Something has worked: the next delay is a short one again."""
        self._attempt = 0
        self._has_hurried = False
