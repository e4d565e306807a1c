"""Writes text from outside to a terminal: characters that move the cursor or cannot be seen are shown as codes."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

# Besides the controls: direction marks, embeddings, overrides and isolates, zero-width characters, separators, tags.
_UNSAFE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
_LINES: Final = re.compile(r"(?![\n\t])" + _UNSAFE.pattern)


def visible(text: str) -> str:
    """One line in which every character is one that can be seen."""
    return _UNSAFE.sub(_code, text)


def visible_lines(text: str) -> str:
    """The same for several lines, as of a traceback."""
    return _LINES.sub(_code, text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows of texts, whatever is in them; brackets are no markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    Console().print(table)


def _code(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "backslashreplace").decode()
