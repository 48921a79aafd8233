"""The source text of a query function, for people to read and to compare."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

_MAX_CHARACTERS = 100_000  # of one function; a generated one can be larger than its model


def source_of(function: Callable[..., Any]) -> str | None:
    """Return the source of a function, method or class, dedented; None when there is none.

    There is none for builtins, compiled functions and code typed at a prompt. Decorators are
    looked through (`__wrapped__`).
    """
    try:
        text = inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError, ValueError):
        return None
    return textwrap.dedent(text)[:_MAX_CHARACTERS]
