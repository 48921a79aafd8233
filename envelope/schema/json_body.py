"""JSON text -> Python values, with a reason for every text that is not JSON.

msgspec takes the last of two members of one name. Counting quotation marks finds out, for some
hundred nanoseconds, whether a body can have such: only then is it looked at member by member.
"""

from __future__ import annotations

import json
import math
from typing import Any

from envelope.errors import Fault, SchemaError


class _Refused(Exception):
    """What the body is, in words."""


def parse_json(body: bytes) -> Any:
    """Return the Python value of a JSON body.

    Raises SchemaError for what is not JSON: the reason and the place, never the text itself.
    """
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_members,
            parse_constant=_constant,
            parse_float=_float,
        )
    except UnicodeDecodeError as exc:
        got = f"bytes that are not UTF-8 at {exc.start}"
    except json.JSONDecodeError as exc:
        reason = "nothing" if not body.strip() else f"malformed JSON ({exc.msg})"
        got = reason if reason == "nothing" else f"{reason} at line {exc.lineno} column {exc.colno}"
    except RecursionError:
        got = "too many levels of nesting"
    except _Refused as exc:
        got = str(exc)
    except ValueError:  # Python refuses integers of more than 4,300 digits
        got = "a number of too many digits"
    raise SchemaError("the body is not JSON", [Fault(path="", expected="JSON", got=got)])


def require_no_duplicates(body: bytes) -> None:
    """Raise SchemaError when an object in the body has two members of one name."""
    parse_json(body)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _Refused("an object with two members of one name")
    return members


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused("a number beyond the range of floats")
    return value


def _constant(name: str) -> Any:
    raise _Refused(f"{name}, which is not JSON; send null")
