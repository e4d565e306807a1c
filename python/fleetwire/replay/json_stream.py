"""One JSON document read value by value, so that memory holds one value and not the document.

The buffer doubles while a value does not fit: a value of n characters is scanned at most about twice in all.
"""

import json
from collections.abc import Iterator
from typing import Any, TextIO

CHUNK_CHARS = 1 << 16
LONGEST_WORD_CHARS = 16  # a cut literal, number sign or escape is reported at most so far before the end
_BLANKS = " \t\r\n"


class JsonStream:
    """A cursor over a document whose top level is an object."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._counted = 0
        self._ended = False
        self._decoder = json.JSONDecoder()
        self.line = 1
        """Line of the file on which the value read last begins."""

    def keys(self) -> Iterator[str]:
        """Yields each key; the caller takes the value with `value` or `items` before the next.

        Raises:
            ValueError: the text is not a JSON object.
        """
        self._expect("{")
        if self._next() == "}":
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise ValueError("a key is not text")  # noqa: TRY004 - a fault of the text, like all others here
            self._expect(":")
            yield key
            if self._expect(",}") == "}":
                return

    def items(self) -> Iterator[Any]:
        """Yields the members of the array that comes next.

        Raises:
            ValueError: there is no array, or it is not JSON.
        """
        self._expect("[")
        if self._next() == "]":
            self._at += 1
            return
        while True:
            yield self.value()
            if self._expect(",]") == "]":
                return

    def value(self) -> Any:  # noqa: ANN401 - JSON
        """Reads one whole value.

        Raises:
            ValueError: the text is not JSON.
        """
        self._next()
        self._count_lines()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not (self._may_go_on(error) and self._refill()):
                    self.line += self._text.count("\n", self._at, error.pos)
                    raise ValueError(error.msg) from error
                continue
            except RecursionError as error:
                raise ValueError("nested too deeply") from error
            # A number at the very end of the buffer may go on in the next chunk.
            if end < len(self._text) or not self._refill():
                self._at = end
                return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether the fault may be the end of the buffer; one further inside is final and must not read on for ever."""
        return error.pos > len(self._text) - LONGEST_WORD_CHARS or error.msg.startswith("Unterminated string")

    def _count_lines(self) -> None:
        self.line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at

    def _next(self) -> str:
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANKS:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._refill():
                return ""

    def _expect(self, wanted: str) -> str:
        found = self._next()
        if not found or found not in wanted:
            raise ValueError(f"expected {' or '.join(wanted)}, found {found or 'the end of the file'}")
        self._at += 1
        return found

    def _refill(self) -> bool:
        if self._ended:
            return False
        more = self._file.read(max(CHUNK_CHARS, len(self._text) - self._at))
        self._ended = not more
        self._count_lines()
        self._text = self._text[self._at :] + more
        self._at = self._counted = 0
        return bool(more)
