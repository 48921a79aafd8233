"""Text that both databases can hold.

PostgreSQL stores no NUL character, and no database a lone surrogate (it has no UTF-8). Keys and
values that are indexed must fit one index entry of PostgreSQL (2,704 bytes).
"""

from __future__ import annotations

from envelope.errors import ConfigError

MAX_KEY_BYTES = 250
MAX_VALUE_BYTES = 2000


def fault_of(text: str) -> str | None:
    """Say why `text` cannot be stored; None when it can."""
    if "\0" in text:
        return f"holds a NUL character at position {text.index(chr(0)) + 1}"
    for position, character in enumerate(text, start=1) if not text.isascii() else ():
        if "\ud800" <= character <= "\udfff":
            return f"holds half a surrogate pair (U+{ord(character):04X}) at position {position}"
    return None


def check_text(text: object, what: str, *, max_bytes: int | None = None) -> str:
    """Return `text` if it can be stored.

    what: names it in the message, e.g. "the value of tag 'region'".
    Raises ConfigError for what is not a string, cannot be stored, or is longer than max_bytes.
    """
    if not isinstance(text, str):
        raise ConfigError(
            f"{what} is {type(text).__name__} {text!r}, not a string; write {str(text)!r}"
        )
    fault = fault_of(text)
    if fault:
        raise ConfigError(f"{what} {fault}, which no registry can store; remove it")
    if max_bytes is not None and len(text.encode()) > max_bytes:
        raise ConfigError(
            f"{what} is {len(text.encode())} bytes long, the limit is {max_bytes}; shorten it, or "
            "keep long text in the description or the hyperparameters"
        )
    return text


def check_key(key: object, what: str) -> str:
    """Return `key` if it can name a tag or a metric: a string of 1 to MAX_KEY_BYTES bytes."""
    name = check_text(key, what, max_bytes=MAX_KEY_BYTES)
    if not name:
        raise ConfigError(f"{what} is empty; give it a name")
    return name
