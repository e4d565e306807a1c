"""How many messages a socket may send: a bucket that fills by the second and is emptied by messages."""

from fleetwire.settings import Settings


class MessageRate:
    """One socket's bucket. What is refused is counted until the bucket has been full again."""

    __slots__ = ("_burst", "_level", "_per_sec", "_refused", "_seen_secs", "_violations")

    def __init__(self, settings: Settings) -> None:
        self._per_sec = settings.socket_messages_per_sec
        self._burst = settings.socket_messages_burst
        self._violations = settings.socket_rate_violations
        self._level = float(self._burst)
        self._seen_secs = 0.0
        self._refused = 0

    def admits(self, now_secs: float) -> bool:
        """Whether a message at this monotonic time is within the rate."""
        level = min(self._burst, self._level + (now_secs - self._seen_secs) * self._per_sec)
        self._seen_secs = now_secs
        if level >= self._burst:
            self._refused = 0
        if level < 1:
            self._level = level
            self._refused += 1
            return False
        self._level = level - 1
        return True

    @property
    def is_exhausted(self) -> bool:
        """Whether so many were refused that the socket is to be closed."""
        return self._refused >= self._violations
