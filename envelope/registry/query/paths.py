"""Keys as text: `packages."odd name".x` to its segments and back, always one spelling."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SEGMENT = re.compile(r'"((?:[^"]|"")*)"|([^."]+)')
_PLAIN = re.compile(r"[\w-]+")


def split_path(text: str) -> tuple[str, ...]:
    """Split a key into its segments, quotes removed.

    >>> split_path('tags."some key"')
    ('tags', 'some key')
    """
    found = _SEGMENT.findall(text)
    return tuple(plain or quoted.replace('""', '"') for quoted, plain in found)


def join_path(segments: Sequence[str]) -> str:
    """Join segments, quoting those that need it.

    >>> join_path(["hyperparameters", "a.b", "c"])
    'hyperparameters."a.b".c'
    """
    return ".".join(map(quote_segment, segments))


def quote_segment(segment: str) -> str:
    """Write one segment the way a query has to."""
    if _PLAIN.fullmatch(segment):
        return segment
    return '"' + segment.replace('"', '""') + '"'
