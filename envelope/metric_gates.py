"""What a metric must be before a release: `auc >= 0.8`, or `auc >= live - 0.01`.

Parsed with the parser of queries, so that a fault points at its column too.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from envelope.errors import QueryError

if TYPE_CHECKING:
    from lark import Lark

GRAMMAR = r"""
start: NAME OPERATOR limit
?limit: NUMBER               -> absolute
      | LIVE                 -> equal
      | LIVE SIGN NUMBER     -> relative

LIVE.2: /live(?![\w.])/
NAME: /[^\W\d][\w\-]*|"(?:[^"]|"")*"/
OPERATOR: "=" | "<=" | ">=" | "<" | ">"
SIGN: "+" | "-" | "*"
NUMBER: /-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])/

%import common.WS
%ignore WS
"""
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_WORDS = {
    "NAME": "the name of a metric",
    "OPERATOR": "one of = < <= > >=",
    "NUMBER": "a number",
    "LIVE": "live",
    "SIGN": "one of + - *",
    "$END": "the end",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricGate:
    """text: as it was written. sign: None compares with `number`; else with live, sign, number."""

    text: str
    name: str
    operator: str
    number: float
    sign: str | None = None

    def limit(self, live: float) -> float:
        """The number to compare with. live: the metric of what is live, where sign is given."""
        match self.sign:
            case "+":
                return live + self.number
            case "-":
                return live - self.number
            case "*":
                return live * self.number
            case _:
                return self.number

    def holds(self, value: float, limit: float) -> bool:
        """Whether a metric's value passes."""
        return COMPARE[self.operator](value, limit)


@lru_cache(maxsize=1024)
def parse_metric_gate(text: str) -> MetricGate:
    """Parse one gate. Raises QueryError with the column, and what was expected there."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        tree = _parser().parse(text)
    except UnexpectedToken as exc:
        is_end = exc.token.type == "$END"
        position = len(text.rstrip()) if is_end else exc.token.start_pos or 0
        wanted = [word for name, word in _WORDS.items() if name in (exc.accepts or exc.expected)]
        found = "the gate ends too early" if is_end else f"unexpected '{exc.token}'"
        raise _fault(f"{found}; expected {' or '.join(wanted)}", text, position) from None
    except UnexpectedCharacters as exc:
        position = exc.pos_in_stream or 0
        message = f"unexpected {text[position]!r}; write such as auc >= 0.8 or auc >= live - 0.01"
        raise _fault(message, text, position) from None
    name, operator, limit = tree.children
    return MetricGate(text=text, name=_name(name), operator=str(operator), **_limit(limit, text))


@cache
def _parser() -> Lark:
    from lark import Lark

    return Lark(GRAMMAR, parser="lalr", lexer="contextual", maybe_placeholders=False)


def _name(token: Any) -> str:
    return str(token)[1:-1].replace('""', '"') if token.startswith('"') else str(token)


def _limit(limit: Any, text: str) -> dict[str, Any]:
    if limit.data == "equal":
        return {"number": 0.0, "sign": "+"}
    token = limit.children[-1]
    number = float(token)
    if math.isinf(number):
        raise _fault(f"{token} is larger than any number that can be stored", text, token.start_pos)
    return {"number": number, "sign": str(limit.children[1]) if len(limit.children) > 1 else None}


def _fault(message: str, text: str, position: int) -> QueryError:
    return QueryError(message, query=text.replace("\n", " "), column=position + 1)
