"""Posts batches of fixes over HTTP and retries them until the server returns a receipt.

    post() -> 200 or 202 + receipt                 PostResult
           -> no answer, 408, 429, 5xx             retry (exponential, jittered, at least Retry-After)
           -> anything else, or retries time out   Problem

A batch whose answer was lost may have been stored. Sending the same bytes again is safe: the server stores a fix once.
"""

import asyncio
import random
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from fleetwire.errors import ConfigError, Problem
from fleetwire.runtime.clock import monotonic_secs, now_millis

LOCATION_PATH = "/api/driver/location"
MIN_RETRY_DELAY_SECS = 0.1  # a restarted server is ready within a second or two; the first retries should reach it
MAX_RETRY_DELAY_SECS = 5.0  # jittered, so that many senders return at a few hundred per second and not all at once
REQUEST_TIMEOUT_SECS = 30.0  # longer than any group commit: after it the request counts as lost
TEMPORARY = frozenset({408, 429})  # in addition to every 5xx


class BatchReceipt(NamedTuple):
    """Outcome of a batch: `stored + duplicate + queued + sum(rejected.values())` fixes."""

    stored: int
    duplicate: int
    rejected: dict[str, int]
    """Number of rejected fixes by code."""
    queued: int = 0
    """Fixes in the server's spool, which holds them while the database is unavailable."""

    @property
    def fixes(self) -> int:
        """Number of fixes that the receipt accounts for."""
        return self.stored + self.duplicate + self.queued + sum(self.rejected.values())


class PostResult(NamedTuple):
    """Receipt of a batch, with the latency and the number of retries."""

    receipt: BatchReceipt
    millis: float
    """Time from the start of the answered request to the last byte of the receipt, without earlier attempts."""
    retries: int


def endpoint(url: str, path: str, *, socket: bool = False) -> str:
    """Returns the address of `path` under the server's `url` (http or https); `socket` makes it ws or wss.

    Raises:
        ConfigError: `url` is not an absolute http address.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"url: {url!r} is not an address like http://127.0.0.1:8000")
    parts = urlsplit(url)
    scheme = parts.scheme.replace("http", "ws") if socket else parts.scheme
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}{path}"


def authorization(token: str) -> dict[str, str]:
    """Returns the Authorization header of a credential.

    Raises:
        ConfigError: the token is empty or holds characters no credential has (a header could be smuggled in).
    """
    token = token.strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise ConfigError(
            "token: a credential is one word of printable ASCII; this one is empty or holds other characters"
        )
    return {"Authorization": f"Bearer {token}"}


def parse_receipt(members: dict[str, object]) -> BatchReceipt:
    """Parses the members of a receipt, from an HTTP response or a socket message.

    Raises:
        Problem: they are not the members of a receipt.
    """
    rejected, queued = members.get("rejected"), members.get("queued", 0)
    # A queued batch is not compared with the history yet, so `stored` and `duplicate` are unknown.
    stored, duplicate = (members.get(name, 0 if "queued" in members else None) for name in ("stored", "duplicate"))
    if not (
        isinstance(stored, int)
        and isinstance(duplicate, int)
        and isinstance(queued, int)
        and isinstance(rejected, list)
    ):
        raise Problem("receipt_unreadable", "The server's answer is not a receipt.", status=502)
    by_code: dict[str, int] = {}
    for reject in rejected:
        code = str(reject.get("code", "unknown")) if isinstance(reject, dict) else "unknown"
        by_code[code] = by_code.get(code, 0) + 1
    return BatchReceipt(stored, duplicate, by_code, queued)


def retry_delay_secs(attempt: int, retry_after_secs: float, rng: random.Random) -> float:
    """Returns the delay after failed attempt number `attempt` (from 0): exponential, jittered, at least Retry-After."""
    ceiling = min(MAX_RETRY_DELAY_SECS, MIN_RETRY_DELAY_SECS * 2.0 ** min(attempt, 16))
    # The jitter is added to Retry-After: senders that all got "1" must not all return in the same second.
    return retry_after_secs + rng.uniform(ceiling / 4, ceiling)


class BatchClient:
    """Posts batches over at most `connections` persistent connections; an async context manager."""

    def __init__(self, url: str, token: str, *, connections: int, rng: random.Random | None = None) -> None:
        self._url = endpoint(url, LOCATION_PATH)
        self._headers = {"Content-Type": "application/json"} | authorization(token)
        self._connections = connections
        self._rng = rng or random.Random()  # noqa: S311 - jitter of retries
        self._session: aiohttp.ClientSession | None = None
        self.retries = 0
        """Attempts that failed for a temporary reason, over all batches, including those still being retried."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECS),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, body: bytes, *, retry_timeout_secs: float) -> PostResult:
        """Posts one batch until the server answers it. After a cancellation the batch may or may not be stored.

        Args:
            body: the batch as JSON.
            retry_timeout_secs: period after the first failure in which the batch is retried; 0 makes one attempt.

        Raises:
            Problem: the server refuses the batch or the credential, or gave no receipt within `retry_timeout_secs`.
        """
        deadline_secs: float | None = None
        attempt = 0
        while True:
            started_secs = monotonic_secs()
            try:
                receipt = await self._post_once(body)
            except Problem as problem:
                if not is_temporary(problem):
                    raise
                failed_secs = monotonic_secs()
                deadline_secs = failed_secs + retry_timeout_secs if deadline_secs is None else deadline_secs
                if failed_secs >= deadline_secs:
                    raise
                self.retries += 1
                delay_secs = retry_delay_secs(attempt, problem.retry_after_secs or 0, self._rng)
                await asyncio.sleep(min(delay_secs, deadline_secs - failed_secs))
                attempt += 1
            else:
                return PostResult(receipt, (monotonic_secs() - started_secs) * 1000, attempt)

    async def _post_once(self, body: bytes) -> BatchReceipt:
        if self._session is None:
            raise RuntimeError("The client is used outside of its context.")
        try:
            # Redirects are refused below: following one would send the credential to another address.
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            detail = f"No answer from {self._url}: {str(error) or type(error).__name__}"
            raise Problem("no_answer", detail, status=503) from error
        if response.status not in {200, 202}:  # stored, or queued in the spool
            raise parse_problem(response.status, answer, response.headers.get("Retry-After"))
        return parse_receipt(_members(answer))


def is_temporary(problem: Problem) -> bool:
    """Returns whether the server may accept the same batch later."""
    return problem.status in TEMPORARY or (problem.status >= 500 and problem.code != "receipt_unreadable")  # noqa: PLR2004 - HTTP's server errors


def parse_problem(status: int, body: bytes, retry_after: str | None) -> Problem:
    """Converts an error response to a `Problem`; accepts bodies that are no problem document, as proxies send them."""
    members = _members(body)
    code = members.get("code")
    detail = members.get("detail") or members.get("title")
    return Problem(
        code if isinstance(code, str) else f"http_{status}",
        detail if isinstance(detail, str) else f"The server answered with status {status}.",
        status=status,
        retry_after_secs=_retry_after_secs(retry_after),
    )


def _members(body: bytes) -> dict[str, object]:
    try:
        members = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return members if isinstance(members, dict) else {}


def _retry_after_secs(text: str | None) -> int | None:
    """Parses both forms of Retry-After: seconds and a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return int(text)
    try:
        return max(0, round(parsedate_to_datetime(text).timestamp() - now_millis() / 1000))
    except ValueError:
        return None
