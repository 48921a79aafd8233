"""Try a function on its example: what it returns, whether rows are independent, how long it takes.

Every call gets a copy of a few rows, however large the example is.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from envelope.blocking import as_blocking
from envelope.capture import statistics_of
from envelope.errors import SchemaError
from envelope.manifest import RowWise, Sample
from envelope.rows import row_count, take_rows
from envelope.schema import (
    MISSING,
    compile_checker,
    example_arguments,
    infer_function,
    needs_output,
    prove_row_wise,
    says_any,
    settle_annotations,
    with_output,
)
from envelope.schema.types import Column, walk

if TYPE_CHECKING:
    from envelope.schema import Checker
    from envelope.schema.types import FunctionSchema

SAMPLE_ROWS = 5
PROOF_ROWS = 1000  # to choose from: the proof takes up to 16 that differ
PROOF_CALLS = 14  # of the proof with 16 rows
ANNOUNCED_S = 1.0  # what takes longer is told
MAX_PROOF_S = 300.0  # a function that is slower than that is not tried row by row
OUTPUT_ROWS = 1000  # to infer the output from, and for its statistics
WIDER_ROWS = (100, OUTPUT_ROWS)  # tried in turn when a function fails on fewer rows
QUICK_S = 0.05  # a sample call that takes longer is not repeated on more rows
TIMED_CALLS = 3
MAX_SAMPLE_BYTES = 256 * 1024  # as JSON: it is in the manifest's function and on the docs page

NO_EXAMPLE = "no example of a whole call was given"
NOT_WANTED = "sample=False"
SENSITIVE = "columns are marked sensitive"
MADE_UP = "there was no example, it was tried on made-up input"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A function to save. attribute: the method of `obj` that `call` is; None: `obj` itself."""

    name: str
    call: Callable[..., Any]
    obj: Any
    attribute: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """What the caller gave to learn from. sample_rows: to keep; 0 keeps none.

    is_made_up: the input has the right types and says nothing of the data; none of it is kept.
    """

    api_input: Any = MISSING
    api_output: Any = MISSING
    sample_rows: int = SAMPLE_ROWS
    sensitive: tuple[str, ...] = ()
    is_made_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was learnt. See envelope.manifest.Function for each field."""

    schema: FunctionSchema
    row_wise: RowWise
    statistics: dict[str, Any]
    sample: Sample | None = None
    no_sample_reason: str | None = None
    call_ms: float | None = None
    is_deterministic: bool | None = None


def try_function(target: Target, example: Example) -> Trial:
    """Infer a function's schema and call it on its own example.

    Raises SchemaError when it fails there (the exception is chained), or when neither annotations
    nor examples say what it takes and returns.
    """
    settle_annotations(target.call)
    schema = infer_function(
        target.call, name=target.name, api_input=example.api_input, api_output=example.api_output
    )
    arguments = example_arguments(schema, example.api_input)
    if arguments is None:
        return _untried(schema, target, example)
    few, output = _first_call(target, arguments, example.sample_rows or SAMPLE_ROWS)
    call_ms = _time_ms(target, few)
    seen = output
    if call_ms <= QUICK_S * 1000 and (row_count(few) or 0) < (row_count(arguments) or 0):
        with _explained(target, "fails on its own example"):
            seen = _call(target, take_rows(arguments, OUTPUT_ROWS, "spread"))
    schema = _with_true_output(schema, target, example, seen)
    _require_no_levels(schema, example.sensitive)
    checker = compile_checker(schema, function=target.call)
    with _explained(target, "answers something else than its schema says"):
        checker.check_output(output)
    proof = _prove(target, checker, arguments, call_ms)
    if proof.is_row_wise:
        checker = compile_checker(schema, function=target.call, row_wise=True)
    body, reason = _body(target, checker, few)
    kept = None if body is None else _answered(target, checker, body)
    reason = reason or _reason_not_to_keep(kept, example)
    return Trial(
        schema=schema,
        row_wise=proof,
        statistics=_statistics(example, seen),
        sample=None if reason else kept,
        no_sample_reason=reason,
        call_ms=call_ms,
        is_deterministic=_is_deterministic(target, checker, proof, kept),
    )


def _untried(schema: FunctionSchema, target: Target, example: Example) -> Trial:
    _require_no_levels(schema, example.sensitive)
    if needs_output(schema):
        raise SchemaError(
            f"nothing says what {target.name} returns; give api_input=, so that it can be tried, "
            "or api_output=, or annotate what it returns"
        )
    return Trial(
        schema=schema,
        row_wise=RowWise(is_row_wise=False, reason=f"not tried: {NO_EXAMPLE}"),
        statistics=_statistics(example, MISSING),
        no_sample_reason=NO_EXAMPLE,
    )


def _call(target: Target, arguments: Mapping[str, Any]) -> Any:
    return as_blocking(target.call)(**arguments)


def _first_call(
    target: Target, arguments: Mapping[str, Any], rows: int
) -> tuple[dict[str, Any], Any]:
    """Call the function on a few rows; on more when it cannot work with so few.

    Returns the arguments that worked (unused ones, for the next call) and the output.
    """
    total = row_count(arguments) or 0
    sizes = [rows, *(more for more in WIDER_ROWS if rows < more < total)]
    if total > rows:
        sizes.append(total)
    for size in sizes:
        few = take_rows(arguments, size)
        try:
            return few, _call(target, take_rows(few, size))
        except Exception as exc:
            if size == sizes[-1]:
                raise SchemaError(
                    f"{target.name} fails on its own example: {type(exc).__name__}: {exc}; call "
                    f"it with api_input to see where, and give an example that it can answer"
                ) from exc
    raise AssertionError("there is always a size")


def _with_true_output(
    schema: FunctionSchema, target: Target, example: Example, output: Any
) -> FunctionSchema:
    """Let an output that nothing describes, or that api_output describes wrongly, speak itself.

    The labels of the training data are often a frame where `predict` returns an array. An
    annotation is a promise: an output that breaks it is refused later.
    """
    is_told = example.api_output is not MISSING
    if needs_output(schema) or (not is_told and says_any(schema.output)):
        return with_output(schema, output, function=target.call, name=target.name)
    if not is_told:
        return schema
    try:
        compile_checker(schema, function=target.call).check_output(output)
    except SchemaError:
        open_schema = infer_function(
            target.call, name=target.name, api_input=example.api_input, api_output=MISSING
        )
        if needs_output(open_schema):
            return with_output(open_schema, output, function=target.call, name=target.name)
    return schema


def _prove(
    target: Target, checker: Checker, arguments: Mapping[str, Any], call_ms: float
) -> RowWise:
    if not checker.takes_one_frame:
        return RowWise(is_row_wise=False, reason="it does not take one DataFrame")
    expected_s = PROOF_CALLS * call_ms / 1000
    if expected_s > MAX_PROOF_S:
        reason = f"not tried: one call takes {call_ms / 1000:.0f} s, the proof makes {PROOF_CALLS}"
        return RowWise(is_row_wise=False, reason=reason)
    if expected_s > ANNOUNCED_S:
        print(
            f"trying {target.name} on its example: about {PROOF_CALLS} calls, {expected_s:.0f} s",
            file=sys.stderr,
        )
    (frame,) = take_rows(arguments, PROOF_ROWS, "spread").values()
    return prove_row_wise(as_blocking(target.call), checker, frame)


def _body(
    target: Target, checker: Checker, few: Mapping[str, Any]
) -> tuple[Any | None, str | None]:
    """Return the request that HTTP would send, else why JSON cannot hold it (an infinity, say)."""
    try:
        return checker.write_arguments(take_rows(few, row_count(few) or 1)), None
    except SchemaError as exc:
        what = f": {exc.faults[0]}" if exc.faults else ""
        return None, f"JSON cannot hold the example{what}"


def _answered(target: Target, checker: Checker, body: Any) -> Sample:
    """Make the call that HTTP would make: JSON in, checks, function, checks, JSON out."""
    with _explained(target, "fails on its own example"):
        return Sample(input=body, output=_answer(target, checker, body))


def _answer(target: Target, checker: Checker, body: Any) -> Any:
    call = checker.read_value(body)
    return checker.write_value(_call(target, call.arguments()), call)


def _is_deterministic(
    target: Target, checker: Checker, proof: RowWise, sample: Sample | None
) -> bool | None:
    if proof.is_row_wise:
        return True  # the proof makes every call twice
    if sample is None:
        return None
    with _explained(target, "fails when it is called again"):
        again = _answer(target, checker, sample.input)
    return msgspec.json.encode(again) == msgspec.json.encode(sample.output)  # NaN equals NaN


def _reason_not_to_keep(sample: Sample | None, example: Example) -> str | None:
    if example.sensitive:
        return SENSITIVE
    if example.is_made_up:
        return MADE_UP
    if example.sample_rows == 0:
        return NOT_WANTED
    if (size_bytes := len(msgspec.json.encode(sample))) > MAX_SAMPLE_BYTES:
        return f"it is {size_bytes:,} bytes of JSON, at most {MAX_SAMPLE_BYTES:,} are kept"
    return None


def _time_ms(target: Target, few: Mapping[str, Any]) -> float:
    """Time warm calls; the median of a few if they are quick."""
    taken: list[float] = []
    while len(taken) < TIMED_CALLS and sum(taken) < QUICK_S:
        arguments = take_rows(few, row_count(few) or 1)
        start = time.perf_counter()
        with _explained(target, "fails when it is called again"):
            _call(target, arguments)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1000


def _statistics(example: Example, output: Any) -> dict[str, Any]:
    if example.is_made_up:
        return {}
    described = {"input": example.api_input, "output": example.api_output}
    if example.api_output is MISSING:
        described["output"] = output
    return {
        key: statistics_of(value, sensitive=example.sensitive)
        for key, value in described.items()
        if value is not MISSING
    }


def check_sensitive(sensitive: Collection[str], api_input: Any, api_output: Any) -> tuple[str, ...]:
    """Return the names if each is in an example. A misspelt one would keep what it should hide.

    Raises SchemaError naming those that are nowhere.
    """
    if isinstance(sensitive, str):
        sensitive = (sensitive,)
    known = set(_names(api_input)) | set(_names(api_output))
    unknown = [name for name in sensitive if name not in known]
    if unknown:
        raise SchemaError(
            f"sensitive= names what is in no example: {', '.join(map(repr, unknown))}; the names "
            f"there are {', '.join(sorted(known)) or 'none'}"
        )
    return tuple(sensitive)


def _require_no_levels(schema: FunctionSchema, sensitive: tuple[str, ...]) -> None:
    """Raise SchemaError for sensitive categories: their levels are part of the schema."""
    for part in walk(schema):
        if isinstance(part, Column) and part.levels is not None and str(part.name) in sensitive:
            raise SchemaError(
                f"column {part.name!r} is sensitive and a category, whose levels every envelope "
                f"keeps; train on texts instead, for example df[{part.name!r}].astype('str')"
            )


def _names(value: Any, depth: int = 3) -> Iterator[str]:
    if isinstance(value, Mapping) and depth:
        for key, member in value.items():
            yield str(key)
            yield from _names(member, depth - 1)
    elif isinstance(value, list | tuple) and depth:
        for item in value[:1]:
            yield from _names(item, depth - 1)
    elif hasattr(value, "columns"):
        yield from (str(name) for name in value.columns)
    elif getattr(value, "name", None) is not None and hasattr(value, "iloc"):
        yield str(value.name)
    elif getattr(value, "ndim", 0) == 2:
        yield from (str(place) for place in range(value.shape[1]))


@contextmanager
def _explained(target: Target, what: str) -> Iterator[None]:
    try:
        yield
    except SchemaError as exc:
        raise SchemaError(f"{target.name} {what}: {exc.summary}", exc.faults) from exc
    except Exception as exc:  # the user's function raises what it likes
        raise SchemaError(
            f"{target.name} {what}: {type(exc).__name__}: {exc}; give an example that it can answer"
        ) from exc
