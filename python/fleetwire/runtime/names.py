"""The one rule for names of devices, users, tenants, rooms, orders and labels; it stands in rust_core/src/name.rs."""

from typing import Final

from fleetwire._core import MAX_DEVICE_CHARS
from fleetwire._core import is_name as core_is_name

__all__ = ["MAX_DEVICE_CHARS", "MAX_NAME_CHARS", "RULE", "is_name"]

MAX_NAME_CHARS: Final = 255
RULE: Final = "characters that can be seen, and no space at either end"
"""How a refusal says it, after a number."""


def is_name(text: str, max_chars: int = MAX_NAME_CHARS) -> bool:
    """Whether a text is a name of at most so many characters."""
    try:
        return core_is_name(text, max_chars)
    except UnicodeEncodeError:
        return False  # Half of a surrogate pair.
