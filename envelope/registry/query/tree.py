"""A query as a tree of frozen records; what the parser makes and both evaluators read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Source = Literal["tag", "metric", "function", "fact", "version", "column", "time", "proved"]
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Value = str | float | bool | datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a comparison asks about.

    source: where the answer is: a tag, the latest metric, a function's sha256, a fact of the
    manifest (of any scalar type), a version (a fact that orders as PEP 440 says), a column of text,
    the registration time, or whether there is a proof.
    name: of the tag, metric, function or column; a fact's canonical path, e.g. `packages.pandas`.
    """

    source: Source
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    key: Key
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class In:
    """is_negated: `not in`, which an absent key does not satisfy either."""

    key: Key
    values: tuple[Value, ...]
    is_negated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """pattern: `%` any characters, `_` one, a backslash takes the next one literally."""

    key: Key
    pattern: str
    is_negated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Exists:
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class And:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Or:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    term: Node


Leaf = Compare | In | Like | Exists
Node = Leaf | And | Or | Not


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A parsed query. root: None matches every envelope (the empty text)."""

    text: str
    root: Node | None


def leaves(node: Node | None) -> Iterator[Leaf]:
    """Every comparison of a query, from left to right."""
    match node:
        case None:
            return
        case And(terms=terms) | Or(terms=terms):
            for term in terms:
                yield from leaves(term)
        case Not(term=term):
            yield from leaves(term)
        case _:
            yield node


def pattern_parts(pattern: str) -> Iterator[tuple[Literal["any", "one", "text"], str]]:
    """Split a `like` pattern into its wildcards and literal characters, escapes resolved."""
    characters = iter(pattern)
    for character in characters:
        if character == "%":
            yield "any", ""
        elif character == "_":
            yield "one", ""
        elif character == "\\":
            yield "text", next(characters, "\\")
        else:
            yield "text", character
