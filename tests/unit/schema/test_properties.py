"""What holds for every type and every value."""

from __future__ import annotations

import datetime
import json
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envelope.errors import SchemaError
from envelope.schema import compile_checker, infer_function, json_schemas
from envelope.schema import types as t
from envelope.schema.examples import type_of_examples
from envelope.schema.moments import parse_duration, parse_moment, show_duration, show_moment
from tests.unit.schema.strategies import JSON, TYPED, Typed, equal, typed_values

MOST = settings.default.max_examples  # of the profile: 40, or 1,000 of the thorough one
quick = settings(max_examples=MOST * 6 // 10, database=None)


def schema_of(kind: t.Type) -> t.FunctionSchema:
    return t.FunctionSchema((t.Parameter("x", kind),), kind)


@quick
@given(typed_values())
def test_any_value_of_any_type_survives_json(typed: tuple[t.Type, Any]) -> None:
    kind, value = typed
    checker = compile_checker(schema_of(kind))
    body = checker.write_arguments({"x": value})
    fast = checker.read_json(msgspec.json.encode(body)).arguments()["x"]
    slow = checker.read_value(body).arguments()["x"]
    assert equal(fast, value)
    assert equal(slow, value)
    assert checker.write_value(value) == body["x"]
    python = checker.read_arguments((value,), {}).arguments()["x"]
    assert equal(python, value)


@quick
@given(typed_values())
def test_any_type_survives_the_manifest(typed: tuple[t.Type, Any]) -> None:
    schema = schema_of(typed[0])
    assert msgspec.json.decode(msgspec.json.encode(schema), type=t.FunctionSchema) == schema


@quick
@given(typed_values())
def test_what_is_written_fits_the_json_schema(typed: tuple[t.Type, Any]) -> None:
    kind, value = typed
    schemas = json_schemas(schema_of(kind))
    jsonschema.Draft202012Validator.check_schema(schemas.input)
    checker = compile_checker(schema_of(kind))
    jsonschema.validate(
        checker.write_arguments({"x": value}), schemas.input, jsonschema.Draft202012Validator
    )
    jsonschema.validate(checker.write_value(value), schemas.output, jsonschema.Draft202012Validator)


@quick
@given(TYPED, JSON)
def test_any_json_is_taken_or_refused_the_same_both_ways(typed: Typed, value: Any) -> None:
    checker = compile_checker(schema_of(typed[0]))
    try:
        fast = checker.read_json(json.dumps({"x": value}).encode()).arguments()["x"]
    except SchemaError as exc:
        with pytest.raises(SchemaError) as caught:
            checker.read_value({"x": value})
        assert caught.value.faults == exc.faults
    else:
        assert equal(checker.read_value({"x": value}).arguments()["x"], fast)


@quick
@given(st.binary(max_size=40))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    frame = pd.DataFrame({"a": [1], "b": ["x"]})
    checker = compile_checker(infer_function(_one, name="one", api_input=frame))
    try:
        checker.read_json(body)
    except SchemaError as exc:
        assert exc.faults


def _one(df) -> float:  # type: ignore[no-untyped-def]
    return 1.0


CELLS: dict[str, tuple[pd.Series[Any], st.SearchStrategy[Any]]] = {
    "int16": (pd.Series([1], dtype="int16"), st.integers(-(2**15), 2**15 - 1)),
    "float64": (pd.Series([0.5]), st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    "float32": (
        pd.Series([0.5], dtype="float32"),
        st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    ),
    "bool": (pd.Series([True]), st.booleans()),
    "text": (pd.Series(["a", None]), st.none() | st.text(max_size=4)),
    "category": (
        pd.Series(["a", "b"], dtype="category"),
        st.sampled_from([None, "a", "b"]),
    ),
    "moment": (
        pd.Series(pd.to_datetime(["2024-01-01"]).as_unit("us")),
        st.none() | st.datetimes().map(lambda moment: moment.isoformat()),
    ),
    "zoned": (
        pd.Series(pd.to_datetime(["2024-01-01"]).as_unit("us").tz_localize("Europe/Berlin")),
        st.none()
        | st.datetimes(timezones=st.just(datetime.UTC)).map(lambda moment: moment.isoformat()),
    ),
}
EXAMPLE = pd.DataFrame({name: series.head(1) for name, (series, _) in CELLS.items()})
EXAMPLE = pd.concat([EXAMPLE, EXAMPLE], ignore_index=True)
EXAMPLE["category"] = pd.Categorical(["a", "b"])
EXAMPLE.loc[1, "text"] = None
ROWS = st.lists(
    st.fixed_dictionaries({name: cells for name, (_, cells) in CELLS.items()}), max_size=20
)


@settings(quick, max_examples=MOST // 4)
@given(ROWS)
def test_every_way_to_write_a_frame_arrives_the_same(rows: list[dict[str, Any]]) -> None:
    checker = compile_checker(infer_function(_one, name="one", api_input=EXAMPLE))
    found = checker.read_json(json.dumps(rows).encode()).arguments()["df"]
    assert list(found.dtypes) == list(EXAMPLE.dtypes)
    assert len(found) == len(rows)
    columns = {name: [row[name] for row in rows] for name in CELLS}
    by_column = checker.read_json(json.dumps(columns).encode()).arguments()["df"]
    pd.testing.assert_frame_equal(by_column, found)
    pd.testing.assert_frame_equal(checker.read_value(rows).arguments()["df"], found)
    if rows:
        calls = [checker.read_json(json.dumps(row).encode()) for row in rows]
        pd.testing.assert_frame_equal(checker.join(calls)["df"], found)
    again = checker.read_value(checker.write_arguments({"df": found})).arguments()["df"]
    pd.testing.assert_frame_equal(again, found)
    table = compile_checker(
        t.FunctionSchema((), infer_function(_one, name="o", api_input=EXAMPLE).one_frame)
    ).write_arrow(found)
    pd.testing.assert_frame_equal(checker.read_arrow(table).arguments()["df"], found)


@quick
@given(
    st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(["s", "ms", "us", "ns"]), st.booleans()
)
def test_moments_survive_text(count: int, unit: Any, aware: bool) -> None:
    factor = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    first = (datetime.datetime(1, 1, 1) - datetime.datetime(1970, 1, 1)) // datetime.timedelta(
        seconds=1
    )
    last = (datetime.datetime(9999, 12, 31) - datetime.datetime(1970, 1, 1)) // datetime.timedelta(
        seconds=1
    )
    count = min(max(count, first * 10**9 // factor), last * 10**9 // factor)
    assert parse_moment(show_moment(count, unit, aware=aware)) == (count * factor, aware)


@quick
@given(st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(["ms", "us", "ns"]))
def test_durations_survive_text(count: int, unit: Any) -> None:
    factor = {"ms": 10**6, "us": 10**3, "ns": 1}[unit]
    assert parse_duration(show_duration(count, unit)) == count * factor


@quick
@given(
    st.lists(
        st.one_of(st.floats(allow_infinity=False), st.none(), st.integers(-(2**53), 2**53)),
        min_size=1,
        max_size=8,
    )
)
def test_vectors_survive(values: list[Any]) -> None:
    array = np.array(values, float)
    checker = compile_checker(schema_of(type_of_examples([array], "x")))
    body = json.dumps({"x": [None if v is None or v != v else v for v in values]}).encode()
    found = checker.read_json(body).arguments()["x"]
    assert np.array_equal(found, array, equal_nan=True)
    assert np.array_equal(np.signbit(found), np.signbit(array)) or np.isnan(array).any()


SECRET = "s3cret"
ONE_FRAME = compile_checker(infer_function(_one, name="one", api_input=EXAMPLE))
SECRETS = st.recursive(
    st.sampled_from([SECRET, f"{SECRET}\ud800", [SECRET], {"a": SECRET}]) | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("a"), inner, max_size=1),
    max_leaves=5,
)


@quick
@given(TYPED, SECRETS)
def test_no_fault_holds_what_was_sent(typed: Typed, value: Any) -> None:
    kind = t.Constrained(typed[0], max_length=1) if isinstance(typed[0], t.Text) else typed[0]
    for wanted in (kind, t.MapOf(t.Uuid(), kind), t.ListOf(kind)):
        checker = compile_checker(schema_of(wanted), extra_columns="ignore")
        for send in (
            lambda checker=checker: checker.read_json(json.dumps({"x": value}).encode()),
            lambda checker=checker: checker.read_arguments((value,), {}),
            lambda checker=checker: checker.write_json(value),
        ):
            try:
                send()
            except SchemaError as exc:
                assert SECRET not in str(exc)
                assert 0 < len(exc.faults) <= 100
                msgspec.json.encode([fault.path for fault in exc.faults])


@quick
@given(st.lists(st.dictionaries(st.sampled_from(list(CELLS)), SECRETS, max_size=9), max_size=5))
def test_no_fault_of_a_frame_holds_what_was_sent(rows: list[dict[str, Any]]) -> None:
    columns = {name: [row.get(name) for row in rows] for name in CELLS}
    for body in (rows, columns, *rows):
        try:
            ONE_FRAME.read_json(json.dumps(body).encode())
        except SchemaError as exc:
            assert SECRET not in str(exc)


@given(st.text(max_size=100), st.binary(max_size=20))
def test_no_fault_of_csv_holds_what_was_sent(text: str, tail: bytes) -> None:
    head = ",".join(CELLS).encode()
    field = text.replace('"', "").encode("utf-8", "replace")
    body = head + b'\r\n"' + SECRET.encode() + field + b'"' + b",1" * (len(CELLS) - 1) + tail
    with pytest.raises(SchemaError) as caught:
        ONE_FRAME.read_csv(body)
    assert SECRET not in str(caught.value)


def test_a_member_that_nobody_knows_is_named_briefly() -> None:
    checker = compile_checker(schema_of(t.Integer()))
    body = json.dumps({"x": 1, "\ud800": 1, "k" * 10_000: 1, 'a"b': 1}).encode()
    with pytest.raises(SchemaError) as caught:
        checker.read_json(body)
    paths = [fault.path for fault in caught.value.faults]
    assert paths == ['["?"]', f'["{"k" * 64}..."]', r'["a\"b"]']


def test_entries_are_named_by_place() -> None:
    checker = compile_checker(schema_of(t.MapOf(t.Text(), t.Integer())))
    with pytest.raises(SchemaError) as caught:
        checker.read_json(b'{"x": {"ann@example.com": 1, "bob@example.com": "b"}}')
    assert [str(fault) for fault in caught.value.faults] == ["x[entry 1]: expected int, got str"]
