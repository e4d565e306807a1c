"""Posting batches as a sender: one batch at a time, kept until the server gave a receipt for it.

    post() -> 200 + receipt                        done
           -> no answer, 408, 429, 5xx             wait (exponential, jittered, at least Retry-After), then the same
           -> anything else, or out of patience    Problem

A batch whose answer was lost may have been stored; sending the same bytes again is safe because a fix is stored once.
"""

import asyncio
import random
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
import orjson

from fleetwire.clock import monotonic_secs, now_millis
from fleetwire.errors import ConfigError, Problem

LOCATION_PATH = "/api/driver/location"
FIRST_WAIT_SECS = 0.1  # a restarted server is back within a second or two; the first tries should notice
LONGEST_WAIT_SECS = 5.0  # jittered, so a crowd of senders comes back at a few hundred per second and not at once
REQUEST_TIMEOUT_SECS = 30.0  # longer than any group commit; a server silent for so long has lost the request
TEMPORARY = frozenset({408, 429})  # besides every 5xx


class Receipt(NamedTuple):
    """What the server made of a batch: `stored + duplicate + queued + sum(rejected.values())` fixes."""

    stored: int
    duplicate: int
    rejected: dict[str, int]
    """Number of refused fixes by code."""
    queued: int = 0
    """Fixes safe in the server's spool while its database is away."""

    @property
    def fixes(self) -> int:
        """Fixes the receipt speaks of."""
        return self.stored + self.duplicate + self.queued + sum(self.rejected.values())


class Posted(NamedTuple):
    """A receipt and what it took to get it."""

    receipt: Receipt
    millis: float
    """From the start of the request that was answered to the last byte of the receipt; waits are not in it."""
    retries: int


def endpoint(url: str, path: str, *, socket: bool = False) -> str:
    """The address of `path` under the server's `url` (http or https); `socket` turns it into ws or wss.

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
    """The header that carries a credential.

    Raises:
        ConfigError: the token is empty or holds characters no credential has (a header could be smuggled in).
    """
    token = token.strip()
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise ConfigError(
            "token: a credential is one word of printable ASCII; this one is empty or holds other characters"
        )
    return {"Authorization": f"Bearer {token}"}


def read_receipt(members: dict[str, object]) -> Receipt:
    """Reads the members of a receipt, from a response or a socket's message.

    Raises:
        Problem: they are not those of a receipt.
    """
    rejected, queued = members.get("rejected"), members.get("queued", 0)
    # A queued batch is not compared with the history yet, so nothing is known of these two.
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
    return Receipt(stored, duplicate, by_code, queued)


def wait_secs(attempt: int, retry_after_secs: float, rng: random.Random) -> float:
    """How long to wait before try number `attempt` + 1; never less than the server asked for."""
    ceiling = min(LONGEST_WAIT_SECS, FIRST_WAIT_SECS * 2.0 ** min(attempt, 16))
    # The jitter comes on top of Retry-After: senders that were all told "1" must not all come back in the same second.
    return retry_after_secs + rng.uniform(ceiling / 4, ceiling)


class BatchClient:
    """Posts batches over at most `connections` kept-alive connections. An async context manager."""

    def __init__(self, url: str, token: str, *, connections: int, rng: random.Random | None = None) -> None:
        self._url = endpoint(url, LOCATION_PATH)
        self._headers = {"Content-Type": "application/json"} | authorization(token)
        self._connections = connections
        self._rng = rng or random.Random()  # noqa: S311 - it spreads retries
        self._session: aiohttp.ClientSession | None = None
        self.retries = 0
        """Tries that failed for a passing reason, over all batches; grows while a batch is still waiting."""

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

    async def post(self, body: bytes, *, give_up_secs: float) -> Posted:
        """Sends one batch until it is answered. Cancelling leaves open whether the batch was stored.

        Args:
            body: the batch as JSON.
            give_up_secs: how long failures may follow each other before the last of them is raised; 0 tries once.

        Raises:
            Problem: the server refuses the batch or the credential, or gave no receipt for `give_up_secs`.
        """
        deadline: float | None = None
        attempt = 0
        while True:
            started = monotonic_secs()
            try:
                receipt = await self._once(body)
            except Problem as problem:
                if not is_temporary(problem):
                    raise
                ended = monotonic_secs()
                deadline = ended + give_up_secs if deadline is None else deadline
                if ended >= deadline:
                    raise
                self.retries += 1
                pause = wait_secs(attempt, problem.retry_after_secs or 0, self._rng)
                await asyncio.sleep(min(pause, deadline - ended))
                attempt += 1
            else:
                return Posted(receipt, (monotonic_secs() - started) * 1000, attempt)

    async def _once(self, body: bytes) -> Receipt:
        if self._session is None:
            raise RuntimeError("The client is used outside of its context.")
        try:
            # A redirect is refused below: following it would hand the credential to another address.
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                answer = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            detail = f"No answer from {self._url}: {str(error) or type(error).__name__}"
            raise Problem("no_answer", detail, status=503) from error
        if response.status not in {200, 202}:  # stored, or queued in the spool
            raise read_problem(response.status, answer, response.headers.get("Retry-After"))
        return read_receipt(_members(answer))


def is_temporary(problem: Problem) -> bool:
    """Whether the same batch may be taken later."""
    return problem.status in TEMPORARY or (problem.status >= 500 and problem.code != "receipt_unreadable")  # noqa: PLR2004 - HTTP's server errors


def read_problem(status: int, body: bytes, retry_after: str | None) -> Problem:
    """The error an answer stands for, also where a proxy answered something other than a problem document."""
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
    """Reads both spellings of Retry-After: seconds, and a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return int(text)
    try:
        return max(0, round(parsedate_to_datetime(text).timestamp() - now_millis() / 1000))
    except ValueError:
        return None
