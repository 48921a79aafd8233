"""Answering a saved sample again: is this model, here, the one that was saved?

The sample is the JSON body of a call that was made at save time, and its JSON answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from envelope.errors import EnvelopeError
from envelope.schema import types as t

if TYPE_CHECKING:
    from envelope.load import LoadedFunction
    from envelope.schema import Checker

FLOAT64_RTOL = 1e-9  # other processors and BLAS builds: 1e-16 to 5e-15 seen, this is generous
FLOAT32_RTOL = 1e-5
MAX_SHOWN = 5


class ReplayError(EnvelopeError):
    """The model answers its own sample differently than when it was saved, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of one. reason: why it does not apply.

    equal: bit for bit. within: the largest difference, relative and absolute, is at most rtol,
    which is relative.
    """

    outcome: Literal["equal", "within", "not applicable"]
    reason: str = ""
    max_difference: float = 0.0
    max_absolute: float = 0.0
    rtol: float = 0.0


class Difference(NamedTuple):
    """One place where two answers differ. Never holds the values: a sample may be personal data."""

    path: str
    how: str


class Comparison(NamedTuple):
    """differences: beyond the tolerance. max_difference, max_absolute: of all floats."""

    differences: list[Difference]
    max_difference: float
    max_absolute: float = 0.0


def replay(function: LoadedFunction, checker: Checker, *, rtol: float | None = None) -> Replay:
    """Call a function with its saved sample, as HTTP would, and compare the answers.

    rtol: how far floats may be apart, relatively; None: as far as other processors would make it,
    and a function that answered differently every time is not compared at all.
    Raises ReplayError naming where they differ, and what to do.
    """
    sample = function.sample
    if sample is None:
        return Replay(outcome="not applicable", reason=function.function.no_sample_reason or "")
    if rtol is None and function.function.is_deterministic is False:
        return Replay(
            outcome="not applicable", reason="it answered differently every time when it was saved"
        )
    body = msgspec.json.encode(sample.input)
    answer = answer_sample(function.name, function.blocking_call, checker, body)
    if rtol is None:
        rtol = max(_rtol(function.schema.output), function.row_wise.max_difference)
    found = compare(sample.output, msgspec.json.decode(answer), rtol=rtol)
    if found.differences:
        raise ReplayError(_explain(function.name, found, rtol))
    return Replay(
        outcome="within" if found.max_difference else "equal",
        max_difference=found.max_difference,
        max_absolute=found.max_absolute,
        rtol=rtol,
    )


def answer_sample(name: str, call: Callable[..., Any], checker: Checker, body: bytes) -> bytes:
    """Answer a sample's body. Raises ReplayError with what the model raised, chained."""
    try:
        checked = checker.read_json(body)
        return checker.write_json(call(**checked.arguments()), checked)
    except Exception as exc:  # a model raises what it likes
        raise ReplayError(
            f"{name} fails on its own sample here: {type(exc).__name__}: {exc}; it did not when it "
            "was saved: compare the two environments, or save the model again"
        ) from exc


def compare(expected: Any, got: Any, *, rtol: float) -> Comparison:
    """Compare two answers as JSON values: exactly, but floats within `rtol`.

    A float may differ by rtol times itself, or the largest at the same place of any other row: a
    sum that cancels out to 1e-17 is 0.
    """
    scales: dict[str, float] = {}
    for place, number in _numbers(expected, ""):
        scales[place] = max(scales.get(place, 0.0), abs(number))
    differences: list[Difference] = []
    largest, largest_absolute = 0.0, 0.0
    for path, place, old, new in _pairs(expected, got, "", ""):
        if _is_float(old) and _is_float(new):
            scale = max(abs(old), abs(new), scales.get(place, 0.0))
            relative = abs(old - new) / scale if scale else 0.0
            if relative > rtol:
                differences.append(Difference(path, f"relative difference {relative:.2g}"))
            largest = max(largest, relative)
            largest_absolute = max(largest_absolute, abs(old - new))
        elif type(old) is not type(new):
            how = f"{type(old).__name__} became {type(new).__name__}"
            differences.append(Difference(path, how))
        elif isinstance(old, dict | list):
            differences.append(Difference(path, "other members, or another number of them"))
        elif old != new:
            differences.append(Difference(path, f"another {type(old).__name__}"))
    return Comparison(differences, largest, largest_absolute)


def in_words(found: Replay) -> str:
    """Say in a line what came of a replay."""
    match found.outcome:
        case "equal":
            return "equal, bit for bit"
        case "within":
            return (
                f"equal within {found.rtol:g}: the largest difference is "
                f"{found.max_absolute:.2g} absolute, {found.max_difference:.2g} relative"
            )
        case "not applicable":
            return f"not applicable: nothing to replay: {found.reason or 'no sample was kept'}"


def _pairs(old: Any, new: Any, path: str, place: str) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield the leaves of two values side by side, and containers that do not go together.

    place: the path without the numbers of rows.
    """
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key, member in old.items():
            yield from _pairs(member, new[key], f"{path}.{key}", f"{place}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _pairs(one, other, f"{path}[{number}]", f"{place}[]")
    else:
        yield path.removeprefix(".") or "output", place, old, new


def _numbers(value: Any, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _numbers(member, f"{place}.{key}")
    elif isinstance(value, list):
        for member in value:
            yield from _numbers(member, f"{place}[]")
    elif _is_float(value):
        yield place, value


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def _rtol(output: t.Type | None) -> float:
    """Return how far floats may be apart: narrow ones anywhere loosen it for all."""
    narrow = any(one.bits < 64 for one in _floats(output))
    return FLOAT32_RTOL if narrow else FLOAT64_RTOL


def _floats(kind: Any) -> Iterator[t.Float]:
    if isinstance(kind, t.Float):
        yield kind
    elif isinstance(kind, msgspec.Struct):
        for name in kind.__struct_fields__:
            yield from _floats(getattr(kind, name))
    elif isinstance(kind, tuple):
        for member in kind:
            yield from _floats(member)


def _explain(name: str, found: Comparison, rtol: float) -> str:
    differences = found.differences
    shown = [f"  {place.path}: {place.how}" for place in differences[:MAX_SHOWN]]
    if len(differences) > MAX_SHOWN:
        shown.append(f"  and {len(differences) - MAX_SHOWN} more")
    if found.max_difference:
        shown.append(
            f"  the largest difference is {found.max_absolute:.2g} absolute, "
            f"{found.max_difference:.2g} relative"
        )
    return (
        f"{name} answers its saved sample differently here (floats may differ by {rtol:g}):\n"
        + "\n".join(shown)
        + "\nthe model depends on something outside its envelope, or its environment differs; "
        "save it again where it will run, or with sample=False if it has no fixed answer"
    )
