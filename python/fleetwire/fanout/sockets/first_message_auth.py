"""The first message of a socket that was opened without a credential: browsers and some apps cannot set headers."""

import asyncio
from typing import Final, Protocol

import msgspec

from fleetwire.access.identity.authenticator import Authenticator
from fleetwire.access.identity.bearer import MAX_TOKEN_CHARS
from fleetwire.access.identity.principal import Permission, Principal
from fleetwire.errors import Problem
from fleetwire.fanout.events.event_messages import Auth, Failure
from fleetwire.fanout.sockets.close_codes import Close, Closing
from fleetwire.runtime.client_data import Undecodable, decode

_AUTH: Final[msgspec.json.Decoder[Auth]] = msgspec.json.Decoder(Auth)


class Received(Protocol):
    """A message."""

    @property
    def data(self) -> bytes:
        """Its bytes."""


class Stranger(Protocol):
    """What is needed of a socket."""

    async def receive(self) -> Received:
        """The next message."""

    async def send(self, frame: bytes) -> None:
        """Sends a text frame."""


async def introduce(
    socket: Stranger, permission: Permission, credentials: Authenticator, limit_secs: float
) -> Principal:
    """Whose credential the first message carries. No cookie is in play, so no page can speak for another's user.

    Raises:
        Closing: there was none in time, or it may not do this; an error says why before.
    """
    try:
        async with asyncio.timeout(limit_secs):
            message = await socket.receive()
    except TimeoutError:
        raise Closing(Close.AUTH_TIMEOUT) from None
    try:
        principal = await credentials.principal(_token(message.data))
        principal.require(permission)
    except Problem as problem:
        await socket.send(msgspec.json.encode(Failure.of(problem)))
        raise Closing(_close_code(problem)) from problem
    return principal


def _token(message: bytes) -> str:
    try:
        token = decode(_AUTH, message).token.strip()
    except Undecodable as error:
        raise Problem(
            "token_missing", "The first message must be of type auth and have a token.", status=401
        ) from error
    if not token or len(token) > MAX_TOKEN_CHARS:
        raise Problem("token_invalid", "The token is empty or longer than any made here.", status=401)
    return token


def _close_code(problem: Problem) -> Close:
    return {401: Close.UNAUTHORIZED, 403: Close.FORBIDDEN}.get(problem.status, Close.INTERNAL)
