"""From a token to its owner, without a query and without a signature check while the worker remembers it.

    token --sha256--> remembered? --no--> shape, signature --> one query however many ask --> remembered for a minute

A revocation is heard over `fleetwire_revoked` and works at once; after a gap in the hearing everything is forgotten.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from fleetwire.access.accounts.signing_keys import SigningKeys
from fleetwire.access.identity import access_jwt, credential_cache
from fleetwire.access.identity.api_tokens import hash_token, is_opaque
from fleetwire.access.identity.away import unavailable
from fleetwire.access.identity.credential_cache import CredentialCache, MakeCache, Refusal
from fleetwire.access.identity.credential_store import CredentialStore
from fleetwire.access.identity.last_used import LastUsedRecorder
from fleetwire.access.identity.principal import Principal
from fleetwire.access.identity.revocation_watch import Ended, RevocationWatch
from fleetwire.errors import Overloaded, Problem
from fleetwire.postgres.transient_errors import TRANSIENT
from fleetwire.runtime import clock, supervisor
from fleetwire.runtime.single_flight import SingleFlight
from fleetwire.runtime.supervisor import SupervisedTask, supervise
from fleetwire.telemetry import metrics

REVOKED_CHANNEL: Final = "fleetwire_revoked"
CHANGED: Final = "changed "
FORGET: Final = "forget"
TENANT: Final = "tenant "

# Cold lookups run beside logins and reads on one small pool, and leave it most of its connections.
LOOKUPS_AT_ONCE: Final = 4
LOOKUPS_WAITING: Final = 1_000

JWT_DOTS: Final = 2  # header.claims.signature

_log = structlog.get_logger(__name__)


def lru(capacity: int, life_millis: int) -> CredentialCache:
    """A memory in the core."""
    from fleetwire._core import Lru

    return Lru(capacity=capacity, ttl_millis=life_millis)


class Authenticator:
    """Verifies tokens for one worker. `allowed_origins` stands here because whoever verifies a cookie needs it."""

    def __init__(
        self,
        pool: Any,  # noqa: ANN401 - asyncpg ships no types
        keys: SigningKeys,
        uses: LastUsedRecorder,
        *,
        make_memory: MakeCache = lru,
        allowed_origins: frozenset[str] = frozenset(),
        now_millis: Callable[[], int] = clock.now_millis,
        recheck_secs: float = 60.0,
    ) -> None:
        self.allowed_origins = allowed_origins
        self.lookup = CredentialStore(pool)
        self._keys = keys
        self._uses = uses
        self._now_millis = now_millis
        self._principals = make_memory(credential_cache.MAX_PRINCIPALS, credential_cache.LIFE_MILLIS)
        self._last_known = make_memory(credential_cache.MAX_PRINCIPALS, credential_cache.AWAY_LIFE_MILLIS)
        self._refused = make_memory(credential_cache.MAX_REFUSED, credential_cache.REFUSED_LIFE_MILLIS)
        self._revoked = make_memory(credential_cache.MAX_REVOKED, credential_cache.REVOKED_LIFE_MILLIS)
        self._away_until_secs = 0.0  # monotonic: a clock set back must not make an outage out of the past
        self._flights: SingleFlight[Principal | Refusal | None] = SingleFlight(
            "access-lookup", most=LOOKUPS_WAITING, busy=_busy
        )
        self._turn = asyncio.Semaphore(LOOKUPS_AT_ONCE)
        self._followers = RevocationWatch(now_millis)
        self._to_check: list[Principal] = []
        """Of open sockets whose credentials are to be looked up again."""
        self._unsure = asyncio.Event()
        self._follow_up: SupervisedTask | None = None
        self._recheck_secs = recheck_secs
        self._to_recheck: list[Principal] = []
        """Of open sockets that are still to be looked up in this round."""
        self._recheck_pause_secs = recheck_secs
        self._rechecking: SupervisedTask | None = None
        # Counts how often everything was forgotten: an answer that was asked for before is not remembered after.
        self._epoch = 0

    async def principal(self, token: str) -> Principal:
        """The owner of a token of any kind.

        Raises:
            Problem: 401 `token_invalid`, `token_expired` or `token_revoked`.
            Overloaded: 503 `access_busy` or `access_unavailable`; says nothing about the token.
        """
        remembered = self.remembered(token)
        if remembered is not None:
            return remembered
        key, now_millis = hash_token(token), self._now_millis()
        refusal = self._refused.get(key, now_millis=now_millis)
        if isinstance(refusal, Refusal):
            raise refusal.problem()
        known = self._last_known.get(key, now_millis=now_millis)
        if isinstance(known, Principal) and clock.monotonic_secs() < self._away_until_secs:
            self._check(known, now_millis)
            return known
        if not is_opaque(token) and token.count(".") != JWT_DOTS:
            raise credential_cache.INVALID.problem()
        answer = await self._flights.wait(self._flights.join(key, lambda _: self._find_in_turn(token, key)))
        if answer is None and isinstance(known, Principal):
            self._check(known, now_millis)
            return known
        return _accepted(answer)

    def remembered(self, token: str) -> Principal | None:
        """The owner of a token that was asked for lately; None if it has to be looked up, which `principal` does.

        Raises:
            Problem: 401 `token_expired` or `token_revoked`.
        """
        now_millis = self._now_millis()
        remembered = self._principals.get(hash_token(token), now_millis=now_millis)
        if not isinstance(remembered, Principal):
            return None
        self._check(remembered, now_millis)
        return remembered

    def follow(self, principal: Principal, ended: Ended) -> Callable[[], None]:
        """For sockets: calls `ended(problem)` once, when the credential expires, is revoked or is found suspended.

        Call it before the first await after `principal`, or a revocation in between is missed. Returns the function
        that ends the following; call it when the socket closes.
        """
        leave = self._followers.add(principal, ended)
        if self._revoked.get(principal.revocation_key, now_millis=self._now_millis()) is not None:
            asyncio.get_running_loop().call_soon(
                self._followers.end_all, principal.revocation_key, credential_cache.REVOKED_TOKEN
            )
        return leave

    def revoke(self, payload: str) -> None:
        """Takes a notification: the hex of a credential's hash or of a session's id. Anything else forgets all.

        `CHANGED` before it says that the credential lives on, and is to be asked for again; `TENANT` before a number
        says that a tenant was suspended or resumed.
        """
        number = payload.removeprefix(TENANT)
        if payload != number and number.isdecimal():
            self._tenant_changed(int(number))
            return
        try:
            key = bytes.fromhex(payload.removeprefix(CHANGED))
        except ValueError:
            self.forget()
            return
        if len(self._revoked) >= credential_cache.MAX_REVOKED:
            # What is forgotten is asked again, and the database knows every revocation.
            self._forget_memories()
        if payload.startswith(CHANGED):
            self._epoch += 1  # What is being asked at the moment may be answered from before the change.
        else:
            self._revoked.put(key, True, now_millis=self._now_millis())  # noqa: FBT003 - a set has no other value
        for remembers in (self._principals, self._last_known):
            remembers.remove(key)
        self._followers.end_all(key, credential_cache.REVOKED_TOKEN)

    def forget(self) -> None:
        """Clears the caches, since revocations may have been missed, and has `start`'s task re-check open sockets."""
        self._forget_memories()
        self._keys.forget()
        self._to_check = self._followers.principals()
        self._unsure.set()

    def _tenant_changed(self, tenant_id: int) -> None:
        """Clears the caches and re-checks the tenant's open sockets before all others."""
        self._forget_memories()
        self._to_check += [each for each in self._followers.principals() if each.tenant_id == tenant_id]
        self._unsure.set()

    def start(self) -> None:
        """Starts to re-check the credentials of open sockets: whenever `forget` was called, and once a minute."""
        self._rechecking = supervise(self._recheck_next, name="credential-rechecks")
        self._follow_up = supervise(self._check_followers, name="credential-followers")

    async def stop(self) -> None:
        """Stops the background tasks."""
        await supervisor.stop(self._follow_up)
        await supervisor.stop(self._rechecking)

    def _forget_memories(self) -> None:
        self._epoch += 1
        for remembers in (self._principals, self._last_known, self._refused, self._revoked):
            remembers.clear()

    def _check(self, principal: Principal, now_millis: int) -> None:
        if principal.expires_at_millis is not None and principal.expires_at_millis <= now_millis:
            raise credential_cache.EXPIRED.problem()
        # An opaque token's entry is removed by its revocation; a session's tokens are not known by its id.
        if principal.session_id is not None and self._revoked.get(principal.session_id, now_millis=now_millis):
            raise credential_cache.REVOKED_TOKEN.problem()

    def _drop(self, key: bytes, refusal: Refusal, now_millis: int) -> None:
        """Removes a refused token from the caches, or an outage of the database would let it in again."""
        known = self._last_known.get(key, now_millis=now_millis)
        if refusal is credential_cache.REVOKED_TOKEN and isinstance(known, Principal) and known.session_id is not None:
            self._revoked.put(known.session_id, True, now_millis=now_millis)  # noqa: FBT003 - a set has no other value
        for remembers in (self._principals, self._last_known):
            remembers.remove(key)

    async def _find_in_turn(self, token: str, key: bytes) -> Principal | Refusal | None:
        async with self._turn:
            return await self._find(token, key)

    async def _find(self, token: str, key: bytes) -> Principal | Refusal | None:
        epoch = self._epoch
        try:
            answer = await self._verify(token, key)
        except TRANSIENT as error:
            _log.warning("A credential could not be looked up.", error=str(error))
            self._away_until_secs = clock.monotonic_secs() + credential_cache.AWAY_PAUSE_SECS
            return None
        now_millis = self._now_millis()
        if isinstance(answer, Refusal):
            self._drop(key, answer, now_millis)
            self._refused.put(key, answer, now_millis=now_millis)
        elif self._revoked.get(answer.revocation_key, now_millis=now_millis) is not None:
            return credential_cache.REVOKED_TOKEN  # Revoked while the query was under way.
        elif epoch == self._epoch:
            for remembers in (self._principals, self._last_known):
                remembers.put(key, answer, now_millis=now_millis)
        if isinstance(answer, Principal) and answer.credential_id is not None:
            self._uses.note(answer.tenant_id, answer.credential_id)
        return answer

    async def _verify(self, token: str, key: bytes) -> Principal | Refusal:
        now_millis = self._now_millis()
        if is_opaque(token):
            return await self.lookup.by_hash(key, now_millis=now_millis)
        try:
            login = await access_jwt.read(token, self._keys, now_millis=now_millis)
        except Problem as problem:
            return Refusal(problem.code, problem.detail)
        return await self.lookup.by_session(
            login.tenant_id, login.session_id.bytes, expires_at_millis=login.expires_at_millis, token_hash=key
        )

    async def _check_followers(self) -> None:
        await self._unsure.wait()
        self._unsure.clear()
        while self._to_check:
            principal = self._to_check.pop()
            try:
                await self._check_follower(principal)
            except BaseException:
                self._to_check.insert(0, principal)  # The others have their turn first.
                self._unsure.set()
                raise

    async def _recheck_next(self) -> None:
        """Looks up the credential of one open socket; those of all of them, evenly, once in `recheck_secs`."""
        if not self._to_recheck:
            self._to_recheck = self._followers.principals()
            self._recheck_pause_secs = self._recheck_secs / max(1, len(self._to_recheck))
        await asyncio.sleep(self._recheck_pause_secs)
        if self._to_recheck:
            # After an error the next one has its turn: the order of a round says nothing about who is reached.
            await self._check_follower(self._to_recheck.pop())

    async def _check_follower(self, principal: Principal) -> None:
        answer = await self._ask_again(principal)
        if isinstance(answer, Refusal):
            self._drop(principal.credential_hash, answer, self._now_millis())
            self._followers.end_all(principal.revocation_key, answer)
        elif answer.rights != principal.rights:
            self._followers.end_all(principal.revocation_key, credential_cache.REVOKED_TOKEN)

    async def _ask_again(self, principal: Principal) -> Principal | Refusal:
        if principal.session_id is None:
            return await self.lookup.by_hash(principal.credential_hash, now_millis=self._now_millis())
        return await self.lookup.by_session(
            principal.tenant_id,
            principal.session_id,
            expires_at_millis=principal.expires_at_millis or 0,
            token_hash=principal.credential_hash,
        )


def _busy() -> Overloaded:
    metrics.ACCESS_LOOKUPS_REFUSED.inc()
    return Overloaded("access_busy", "Too many unknown credentials at once.", retry_after_secs=1)


def _accepted(answer: Principal | Refusal | None) -> Principal:
    if answer is None:
        raise unavailable()
    if isinstance(answer, Refusal):
        raise answer.problem()
    return answer
