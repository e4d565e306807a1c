"""Decodes JSON and MessagePack that clients send: any bytes give a value or `Undecodable`, never another exception.

The decoder of the library has three ways to refuse: a syntax or a type that does not fit, text that is not UTF-8, and
nesting deeper than the stack. A caller that forgets one of them answers 500 and logs a traceback for a bad request.
"""

from typing import Any, Protocol, TypeVar

import msgspec

T_co = TypeVar("T_co", covariant=True)


class Undecodable(Exception):  # noqa: N818 - a refusal, which the caller turns into an answer
    """The bytes are no value of the type that was expected."""


class Decoder(Protocol[T_co]):
    """A decoder of msgspec, of either format."""

    def decode(self, data: bytes, /) -> T_co:
        """Reads one value."""


def decode(decoder: Decoder[T_co], data: bytes) -> T_co:
    """Reads one value.

    Raises:
        Undecodable: its text says what is wrong, and never what the client sent.
    """
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as error:
        raise Undecodable(str(error)) from None
    except UnicodeDecodeError:
        raise Undecodable("text is not UTF-8") from None
    except RecursionError:
        raise Undecodable("the nesting is too deep") from None


ANY: Decoder[Any] = msgspec.json.Decoder()
"""Reads JSON of any shape."""
