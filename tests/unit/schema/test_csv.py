"""CSV bodies: what is taken, what is refused and with which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from envelope.errors import SchemaError
from envelope.schema import Checker, compile_checker, infer_function
from envelope.schema import types as t
from envelope.schema.examples import type_of_examples

FRAME = pd.DataFrame(
    {"age": [30, 30], "income": [1.5, 1.5], "city": pd.Series(["Oslo", None], dtype=object)}
)


def total(df: pd.DataFrame) -> float:
    return 1.0


def checker_of(frame: pd.DataFrame = FRAME, **options: Any) -> Checker:
    return compile_checker(infer_function(total, name="total", api_input=frame), **options)


@pytest.mark.parametrize(
    "body, expected",
    [
        pytest.param("age,income,city\n1,2.5,a\n", [[1, 2.5, "a"]], id="plain"),
        pytest.param("city,age,income\r\na,1,2.5\r\n", [[1, 2.5, "a"]], id="crlf-and-reordered"),
        pytest.param("age,income,city\n1,2.5,a", [[1, 2.5, "a"]], id="no-last-newline"),
        pytest.param('"age","income","city"\n"1","2.5","a"\n', [[1, 2.5, "a"]], id="all-quoted"),
        pytest.param("\ufeffage,income,city\n1,2.5,a\n", [[1, 2.5, "a"]], id="byte-order-mark"),
        pytest.param("age,income,city\n1,,\n", [[1, None, None]], id="empty-fields-are-null"),
        pytest.param('age,income,city\n1,,""\n', [[1, None, ""]], id="empty-text"),
        pytest.param("age,income,city\n1.0,3,NA\n", [[1, 3.0, "NA"]], id="widened"),
        pytest.param('age,income,city\n1,2e3,"a,""b""\nc"\n', [[1, 2e3, 'a,"b"\nc']], id="quoted"),
        pytest.param("age,income,city\n", [], id="no-rows"),
    ],
)
def test_accepted(body: str, expected: list[list[Any]]) -> None:
    call = checker_of().read_csv(body.encode())
    assert (call.form, call.n_rows) == ("rows", len(expected))
    found = call.arguments()["df"]
    assert list(found.dtypes) == list(FRAME.dtypes)
    cells = [
        [None if value != value else value for value in row] for row in found.to_numpy().tolist()
    ]
    assert cells == expected


@pytest.mark.parametrize(
    "body, fault",
    [
        pytest.param(b"", "body: expected CSV, got nothing", id="empty"),
        pytest.param(b"age\n\xff\n", "bytes that are not UTF-8 at 4", id="latin-1"),
        pytest.param(b'age,income,city\n1,2,"a\n', "not closed", id="open-quote"),
        pytest.param(b"age,income,city\n1,2\n", "2 fields in line 2, 3 in the header", id="short"),
        pytest.param(b"age,income\n1,2\n", "city: expected str or null, got nothing", id="missing"),
        pytest.param(
            b"age,income,city,extra\n1,2,a,b\n",
            "extra: expected no such column, got a value",
            id="extra",
        ),
        pytest.param(
            b"age,age,income,city\n1,2,3,a\n", "two columns of one name", id="repeated-column"
        ),
        pytest.param(
            b"age,income,city\n1,1,a\nx,1,a\n", "rows[1].age: expected int64, got text", id="text"
        ),
        pytest.param(
            b"age,income,city\n,1,a\n", "rows[0].age: expected int64, got null", id="null"
        ),
        pytest.param(b"age,income,city\n1.5,1,a\n", "rows[0].age: expected int64", id="fraction"),
        pytest.param(
            f"age,income,city\n{2**63},1,a\n".encode(), "int beyond its range", id="beyond-int64"
        ),
        pytest.param(
            f"age,income,city\n1,{2**53 + 1},a\n".encode(), "that a float would round", id="2**53+1"
        ),
        pytest.param(b"age,income,city\n1,inf,a\n", "rows[0].income: expected float", id="inf"),
        pytest.param(b"age,income,city\n1,1e999,a\n", "rows[0].income: expected float", id="1e999"),
    ],
)
def test_refused(body: bytes, fault: str) -> None:
    with pytest.raises(SchemaError) as caught:
        checker_of().read_csv(body)
    assert fault in str(caught.value)
    assert len(caught.value.faults) == 1


def test_extra_columns_can_be_ignored() -> None:
    call = checker_of(extra_columns="ignore").read_csv(b"age,x,income,city\n1,?,2,a\n")
    assert list(call.arguments()["df"].columns) == ["age", "income", "city"]


def test_nulls_of_a_lone_column_are_kept() -> None:
    frame = pd.DataFrame({"x": [1.0, np.nan, 3.0]})
    checker = checker_of(frame)
    found = checker.read_csv(b"x\n1\n\n3\n").arguments()["df"]
    pd.testing.assert_frame_equal(found, frame)


def test_only_one_frame_takes_csv() -> None:
    checker = compile_checker(t.FunctionSchema((t.Parameter("x", t.Integer()),), t.Integer()))
    with pytest.raises(SchemaError, match="only a function of one frame takes CSV"):
        checker.read_csv(b"x\n1\n")


@pytest.mark.parametrize(
    "output, expected",
    [
        pytest.param(np.array([1.5, np.nan]), b"output\r\n1.5\r\n\r\n", id="vector"),
        pytest.param(
            np.array([[1, 2], [3, 4]]), b"output_0,output_1\r\n1,2\r\n3,4\r\n", id="matrix"
        ),
        pytest.param(["a", 'b,"', ""], b'output\r\na\r\n"b,"""\r\n""\r\n', id="texts"),
        pytest.param(1.5, b"output\r\n1.5\r\n", id="float"),
        pytest.param([True, False], b"output\r\ntrue\r\nfalse\r\n", id="bools"),
        pytest.param([{"a": 1}], b'output\r\n"{""a"":1}"\r\n', id="objects"),
        pytest.param(pd.DataFrame({"a": [1], "b": ["x"]}), b"a,b\r\n1,x\r\n", id="frame"),
        pytest.param([1, "1", "x"], b'output\r\n1\r\n"""1"""\r\nx\r\n', id="texts-that-are-json"),
    ],
)
def test_outputs(output: Any, expected: bytes) -> None:
    kind = type_of_examples([output], "output")
    parameter = t.Parameter("df", t.Frame((t.Column("n", t.Integer(64), "int64", "numpy"),)))
    checker = compile_checker(t.FunctionSchema((parameter,), kind))
    assert checker.write_csv(output) == expected
    with pytest.raises(SchemaError, match="expected 9 rows, got"):
        checker.write_csv(output, 9)
