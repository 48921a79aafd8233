"""Query text -> tree. Every fault points at its column, in plain words."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from envelope.errors import QueryError
from envelope.registry.query.keys import Misuse, read_key, read_value
from envelope.registry.query.tree import (
    And,
    Compare,
    Exists,
    In,
    Key,
    Like,
    Node,
    Not,
    Or,
    Query,
    Value,
)
from envelope.registry.text import fault_of

if TYPE_CHECKING:
    from lark import Lark, Token

MAX_LENGTH = 20_000  # characters
MAX_COMPARISONS = 300  # SQLite refuses expressions that are nested 1,000 deep
MAX_DEPTH = 50  # nested parentheses and nots

# What the parser may expect -> how people call it. In the order of mention.
_WORDS = {
    "KEY": "a key such as tags.region",
    "NOT": "not",
    "EXISTS": "exists",
    "LPAR": "(",
    "OPERATOR": "one of = != < <= > >=",
    "IN": "in",
    "LIKE": "like",
    "STRING": "a string in single quotes",
    "NUMBER": "a number",
    "TRUE": "true",
    "FALSE": "false",
    "COMMA": ",",
    "RPAR": ")",
    "AND": "and",
    "OR": "or",
    "$END": "the end",
}


@lru_cache(maxsize=4096)
def parse(text: str) -> Query:
    """Parse a query; the empty text matches every envelope.

    Raises QueryError with the column where it cannot be understood, and what was expected there.
    """
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    _check_text(text)
    try:
        tree = _parser().parse(text)
    except UnexpectedToken as exc:
        position = exc.token.start_pos if exc.token.type != "$END" else len(text.rstrip())
        raise _fault(
            _unexpected(exc.token, exc.accepts or exc.expected), text, position or 0
        ) from None
    except UnexpectedCharacters as exc:
        position = exc.pos_in_stream or 0
        raise _fault(_strange(text, position), text, position) from None
    if tree.data == "everything":
        return Query(text=text, root=None)
    return Query(text=text, root=_Reader(text).node(tree, depth=0))


@cache
def _parser() -> Lark:
    from lark import Lark

    grammar = files("envelope.registry.query").joinpath("grammar.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", maybe_placeholders=False)


def _fault(message: str, text: str, position: int) -> QueryError:
    return QueryError(message, query=re.sub(r"\s", " ", text), column=position + 1)


def _check_text(text: str) -> None:
    if len(text) > MAX_LENGTH:
        short = text[:60] + "..."
        message = f"the query has {len(text)} characters, the limit is {MAX_LENGTH}; shorten it"
        raise QueryError(message, query=short, column=1)
    fault = fault_of(text)
    if fault:
        shown = text.replace("\0", " ").encode(errors="replace").decode()
        raise QueryError(f"the query {fault}; remove it", query=shown, column=1)
    depth = 0
    for match in re.finditer(
        r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]|\bnot\b""", text, re.IGNORECASE
    ):
        word = match.group()
        depth += {"(": 1, ")": -1}.get(word, 0)
        if depth > MAX_DEPTH:
            raise _fault(f"parentheses are nested over {MAX_DEPTH} deep", text, match.start())


def _unexpected(token: Token, expected: Collection[str]) -> str:
    words = [word for name, word in _WORDS.items() if name in expected]
    wanted = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    if token.type == "$END":
        return f"the query ends too early; expected {wanted}"
    if token.type == "RPAR" and "$END" in expected:
        return "this ) closes nothing; remove it, or add a ( before"
    hint = _hint(token, expected)
    return f"unexpected {_shown(token)}; expected {wanted}{hint}"


def _shown(token: Token) -> str:
    return str(token) if token.type in ("STRING", "NUMBER") else f"'{token}'"


def _hint(token: Token, expected: Collection[str]) -> str:
    if token.type == "KEY" and "STRING" in expected:
        return f". Strings take single quotes: '{token}'"
    if token.type == "KEY" and "OPERATOR" in expected:
        return '. A key with a space is written in double quotes: tags."some key"'
    if token.type == "OPERATOR" and token == "=" and "STRING" in expected:
        return ". Equality is a single ="
    return ""


def _strange(text: str, position: int) -> str:
    character = text[position]
    if character == "'":
        return "this string has no closing quote; end it with '"
    if character == '"':
        return "double quotes are for keys (tags.\"some key\"); strings take single quotes: 'US'"
    if character in "&|":
        return f"unexpected {character!r}; write {'and' if character == '&' else 'or'}"
    if character in "!":
        return "unexpected '!'; write not, or != between a key and a value"
    if character == ".":
        return "unexpected '.'; a key has names between its dots, odd ones in double quotes"
    return f'unexpected {character!r}; keys with odd characters are quoted: tags."some key"'


class _Reader:
    """Turns the parser's tree into ours, and adds to each fault where it stands."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.comparisons = 0

    def node(self, tree: Any, *, depth: int) -> Node:
        if depth > 3 * MAX_DEPTH:
            raise _fault(f"nested over {MAX_DEPTH} deep; simplify the query", self.text, 0)
        children = tree.children
        match tree.data:
            case "any_of" | "all_of":
                terms = [self.node(c, depth=depth + 1) for c in children if hasattr(c, "data")]
                if len(terms) == 1:
                    return terms[0]
                return (Or if tree.data == "any_of" else And)(terms=tuple(terms))
            case "negate":
                return Not(term=self.node(children[-1], depth=depth + 1))
            case "negation":
                return self.node(children[0], depth=depth + 1)
        return self._leaf(tree)

    def _leaf(self, tree: Any) -> Node:
        self.comparisons += 1
        tokens = {token.type: token for token in tree.children}
        where = tokens["KEY"]
        if self.comparisons > MAX_COMPARISONS:
            message = f"over {MAX_COMPARISONS} comparisons; use in ('a', 'b', ...) for many values"
            raise _fault(message, self.text, where.start_pos)
        key = self._at(where, read_key, str(where))
        match tree.data:
            case "compare":
                operator: Any = str(tokens["OPERATOR"])
                value = self._value(key, operator, tree.children[-1])
                return Compare(key=key, operator=operator, value=value)
            case "one_of":
                values = (t for t in tree.children if t.type in _VALUES)
                read = tuple(self._value(key, "in", token) for token in values)
                return In(key=key, values=read, is_negated="NOT" in tokens)
            case "like":
                return self._like(key, tokens["STRING"], is_negated="NOT" in tokens)
        if key.source == "proved":
            raise _fault("proved always exists; write proved = true", self.text, where.start_pos)
        return Exists(key=key)

    def _like(self, key: Key, token: Any, *, is_negated: bool) -> Like:
        if key.source in ("metric", "time", "proved"):
            message = f"like is for text, {key.name} is none; use = < or >"
            raise _fault(message, self.text, token.start_pos)
        pattern = _unquote(token)
        if (len(pattern) - len(pattern.rstrip("\\"))) % 2:
            message = "the pattern ends in a backslash, which escapes nothing; write two"
            raise _fault(message, self.text, token.start_pos)
        return Like(key=key, pattern=pattern, is_negated=is_negated)

    def _value(self, key: Key, operator: str, token: Any) -> Value:
        value: Value = self._at(token, lambda raw: read_value(key, operator, _literal(raw)), token)
        return value

    def _at(self, token: Any, read: Any, argument: Any) -> Any:
        try:
            return read(argument)
        except Misuse as exc:
            raise _fault(str(exc), self.text, token.start_pos) from None


_VALUES = ("STRING", "NUMBER", "TRUE", "FALSE")


def _literal(token: Any) -> Value:
    match token.type:
        case "STRING":
            return _unquote(token)
        case "NUMBER":
            number = float(token)
            if math.isinf(number):
                raise Misuse(f"{token} is larger than any number that can be stored")
            return number
        case _:
            return bool(token.type == "TRUE")


def _unquote(token: Any) -> str:
    return str(token)[1:-1].replace("''", "'")
