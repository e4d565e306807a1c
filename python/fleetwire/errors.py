"""What can go wrong, as types.

    FleetwireError
      ConfigError            settings that cannot work; the command says which and exits with 2
      Problem                an answer to a client: stable code, sentence, HTTP status
        BatchError           the envelope of a batch cannot be read: nothing of it was stored
        Overloaded           a bounded queue is full; the sender keeps its batch and comes back
          DatabaseAway       the database does not answer
        RateLimited          too much of something in too little time; it waits

A bad fix is not an error: it is a line in the receipt.
"""

from typing import Any


class FleetwireError(Exception):
    """Everything this package raises on purpose."""


class ConfigError(FleetwireError):
    """Settings that cannot work. The message names the setting and what would be right."""


class Problem(FleetwireError):  # noqa: N818 - RFC 9457 calls it so
    """An answer to a client, rendered as `application/problem+json` (RFC 9457)."""

    def __init__(
        self, code: str, detail: str, *, status: int, retry_after_secs: int | None = None, allow: str | None = None
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.retry_after_secs = retry_after_secs
        self.allow = allow  # the methods that a 405 names

    def members(self) -> dict[str, Any]:
        """The members of the problem document; `type` stays `about:blank`, the code is what programs read."""
        return {"status": self.status, "code": self.code, "detail": self.detail}

    def headers(self) -> dict[str, str]:
        """The headers that belong to the answer: when to come back, how to say who one is, which methods there are."""
        headers = {} if self.retry_after_secs is None else {"Retry-After": str(self.retry_after_secs)}
        if self.status == 401:  # noqa: PLR2004 - RFC 9110, 15.5.2: it names a way to authenticate
            headers["WWW-Authenticate"] = "Bearer"
        if self.allow is not None:
            headers["Allow"] = self.allow
        return headers


class BatchError(Problem):
    """The envelope of a batch cannot be read; nothing of it was stored. Raised by the core."""

    def __init__(self, code: str, detail: str) -> None:
        status = 413 if code in {"batch_too_large", "body_too_large"} else 400
        super().__init__(code, detail, status=status)


class Overloaded(Problem):
    """Come back later: nothing of the batch was stored and the sender still holds it."""

    def __init__(self, code: str, detail: str, *, retry_after_secs: int) -> None:
        super().__init__(code, detail, status=503, retry_after_secs=retry_after_secs)


class DatabaseAway(Overloaded):
    """The database did not answer in time. With a spool, the batch is kept there instead."""

    def __init__(self) -> None:
        super().__init__("database_unavailable", "The database is away; send it again.", retry_after_secs=5)


class RateLimited(Problem):
    """Too much in too little time: nothing was done. `fields` are the IETF headers that say which limit it was."""

    def __init__(self, code: str, detail: str, *, retry_after_secs: int, fields: dict[str, str]) -> None:
        super().__init__(code, detail, status=429, retry_after_secs=retry_after_secs)
        self.fields = fields

    def headers(self) -> dict[str, str]:
        """Retry-After, RateLimit and RateLimit-Policy."""
        return {**super().headers(), **self.fields}
