"""The checker of a function: bodies of frames, faults all at once, parameters, shared calls."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from envelope.errors import MAX_FAULTS, SchemaError
from envelope.schema import (
    Checker,
    compile_checker,
    infer_function,
    settle_annotations,
    with_output,
)
from envelope.schema import types as t
from envelope.schema.checks import classes_of

FRAME = pd.DataFrame(
    {
        "age": [30, 41],
        "income": [1.5, np.nan],
        "city": ["Oslo", "Rome"],
        "segment": pd.Categorical(["a", "b"]),
        "since": pd.to_datetime(["2024-01-01", "2024-02-01"]).as_unit("us"),
    }
)
ROW = {"age": 30, "income": 1.5, "city": "Oslo", "segment": "a", "since": "2024-01-01T00:00:00"}


def total(df: pd.DataFrame) -> float:
    return float(df["age"].sum())


def checker_of(frame: pd.DataFrame = FRAME, **options: Any) -> Checker:
    return compile_checker(infer_function(total, name="total", api_input=frame), **options)


def faults_of(checker: Checker, body: Any) -> list[str]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(SchemaError) as caught:
        checker.read_json(data)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    "body, faults",
    [
        pytest.param(
            {**ROW, "age": "30"}, ["age: expected int64, got str"], id="one-fault-in-a-row"
        ),
        pytest.param(
            [ROW, {**ROW, "age": None, "city": 3}, {**ROW, "segment": "z"}],
            [
                "rows[1].age: expected int64, got null",
                "rows[1].city: expected str, got int",
                "rows[2].segment: expected one of 2 levels, got str that is none of them",
            ],
            id="all-faults-of-rows",
        ),
        pytest.param(
            {name: [value] for name, value in {**ROW, "since": "x"}.items()},
            ["since[0]: expected timestamp[us], got str"],
            id="columns",
        ),
        pytest.param(
            {name: value for name, value in ROW.items() if name != "city"},
            ["city: expected str, got nothing"],
            id="missing-column",
        ),
        pytest.param(
            {**ROW, "extra": 1}, ["extra: expected no such column, got a value"], id="extra-column"
        ),
        pytest.param(
            {**ROW, "age": [1]}, ["age: expected int64, got list"], id="one-list-in-a-row"
        ),
        pytest.param(
            {**{name: [value] for name, value in ROW.items()}, "age": [1, 2]},
            ["body: expected columns of one length, got columns of different lengths"],
            id="columns-of-different-lengths",
        ),
        pytest.param([ROW, 3], ["rows[1]: expected row object, got int"], id="item-that-is-no-row"),
        pytest.param(
            3, ["body: expected row, list of rows or object of columns, got int"], id="no-frame"
        ),
        pytest.param(
            {},
            [
                "age: expected int64, got nothing",
                "income: expected float or null, got nothing",
                "city: expected str, got nothing",
                "segment: expected one of 2 levels or null, got nothing",
                "since: expected timestamp[us] or null, got nothing",
            ],
            id="empty-object",
        ),
    ],
)
def test_faults_of_a_frame(body: Any, faults: list[str]) -> None:
    assert faults_of(checker_of(), body) == faults


def test_faults_are_capped_and_never_echo_the_data() -> None:
    body = [{**ROW, "age": "secret", "city": 12345} for _ in range(10_000)]
    with pytest.raises(SchemaError) as caught:
        checker_of().read_json(json.dumps(body).encode())
    assert len(caught.value.faults) == MAX_FAULTS
    assert f"at least {MAX_FAULTS} faults" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "12345" not in str(caught.value)


@pytest.mark.parametrize(
    "body, got",
    [
        pytest.param(b"", "nothing", id="empty"),
        pytest.param(b"  \n", "nothing", id="blank"),
        pytest.param(b"{", "malformed JSON (Expecting property name", id="truncated"),
        pytest.param(b'{"age": 1} x', "malformed JSON (Extra data)", id="trailing"),
        pytest.param(b'{"age": NaN}', "NaN, which is not JSON; send null", id="nan"),
        pytest.param(b"[Infinity]", "Infinity, which is not JSON", id="infinity"),
        pytest.param(b"[-Infinity]", "-Infinity, which is not JSON", id="minus-infinity"),
        pytest.param(b"[" * 200_000, "too many levels of nesting", id="deep"),
        pytest.param(b'{"a":' * 200_000, "too many levels of nesting", id="deep-objects"),
        pytest.param(b"[1" + b"0" * 10_000 + b"]", "a number of too many digits", id="huge-number"),
        pytest.param(b'{"income": 1e400}', "a number beyond the range of floats", id="1e400"),
        pytest.param(b'{"age": "\xff"}', "bytes that are not UTF-8 at 9", id="latin-1"),
        pytest.param('{"age": 1}'.encode("utf-16"), "bytes that are not UTF-8 at 0", id="utf-16"),
        pytest.param(
            json.dumps(ROW).encode()[:-1] + b', "age": 1}',
            "an object with two members of one name",
            id="duplicate",
        ),
        pytest.param(
            b"[" + json.dumps(ROW).encode()[:-1] + b', "city": "Bonn"}]',
            "an object with two members of one name",
            id="duplicate-in-rows",
        ),
        pytest.param(
            json.dumps({k: [v] for k, v in ROW.items()}).encode()[:-1] + b', "age": [2]}',
            "an object with two members of one name",
            id="duplicate-columns",
        ),
    ],
)
def test_bodies_that_are_no_json(body: bytes, got: str) -> None:
    (fault,) = faults_of(checker_of(), body)
    assert fault.startswith(f"body: expected JSON, got {got}")


def test_faults_of_deep_values_do_not_crash() -> None:
    schema = t.FunctionSchema((t.Parameter("x", t.ListOf(t.Anything())),), t.Null())
    deep = b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert "too many levels of nesting" in faults_of(compile_checker(schema), deep)[0]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b' \n {"age": 1, "n": null, "s": "a\\"b"}', id="escapes-and-space"),
        pytest.param(b'{"\\u0061ge": 1, "n": null, "s": "a\\u0022b"}', id="escaped-quote"),
        pytest.param(b'{"s": "a\\"b", "n": null, "age": 1.0}', id="widened-and-reordered"),
        pytest.param(b'[{"age": 1, "n": null, "s": "a\\"b"}]', id="rows"),
        pytest.param(b'{"age": [1], "n": [null], "s": ["a\\"b"]}', id="columns"),
        pytest.param(b'{"age": [1.0], "n": [null], "s": ["a\\"b"]}', id="columns-widened"),
    ],
)
def test_one_row_however_it_is_written(body: bytes) -> None:
    frame = pd.DataFrame({"age": [1], "n": [np.nan], "s": ['a"b']})
    found = checker_of(frame).read_json(body).arguments()["df"]
    pd.testing.assert_frame_equal(found, frame)
    view = checker_of(frame).read_json(memoryview(body)).arguments()["df"]
    pd.testing.assert_frame_equal(view, frame)


def test_extra_columns_can_be_ignored() -> None:
    checker = checker_of(extra_columns="ignore")
    extra = {**ROW, "extra": {"deep": ['"']}}
    for body, form in [
        (extra, "row"),
        ([extra], "rows"),
        ({k: [v] for k, v in extra.items()}, "columns"),
    ]:
        call = checker.read_json(json.dumps(body).encode())
        assert (call.form, list(call.arguments()["df"].columns)) == (form, list(FRAME.columns))
    frame = FRAME.assign(extra=1)
    assert list(checker.read_arguments((frame,), {}).arguments()["df"]) == list(FRAME.columns)
    table = pa.table({"extra": [1]})
    with pytest.raises(SchemaError, match="age: expected int64, got nothing"):
        checker.read_arrow(table)


LISTS = pd.DataFrame({"emb": pd.Series([[1.0, 2.0]], dtype=object)})


@pytest.mark.parametrize(
    "body, form, n_rows",
    [
        pytest.param(b'{"emb": []}', "columns", 0, id="no-rows"),
        pytest.param(b'{"emb": [1.0]}', "row", 1, id="row"),
        pytest.param(b'{"emb": [[1.0], []]}', "columns", 2, id="columns"),
        pytest.param(b'[{"emb": []}]', "rows", 1, id="rows"),
    ],
)
def test_columns_are_one_list_deeper_than_their_type(body: bytes, form: str, n_rows: int) -> None:
    call = checker_of(LISTS).read_json(body)
    assert (call.form, call.n_rows) == (form, n_rows)
    slow = checker_of(LISTS).read_value(json.loads(body))
    assert (slow.form, slow.n_rows) == (form, n_rows)


def test_wide_frames_are_read_in_linear_time() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(3, 5000)), columns=[f"c{i}" for i in range(5000)])
    checker = checker_of(frame)
    rows = frame.to_dict("records")
    shuffled = [{name: row[name] for name in rng.permutation(frame.columns)} for row in rows]
    found = checker.read_json(json.dumps(shuffled).encode()).arguments()["df"]
    assert found.equals(frame)
    assert checker.read_arguments((frame,), {}).arguments()["df"].equals(frame)


def test_integer_labels() -> None:
    frame = pd.DataFrame([[1.0, 2.0]])
    found = checker_of(frame).read_json(b'{"0": 1, "1": 2}').arguments()["df"]
    assert list(found.columns) == [0, 1]
    assert all(type(label) is int for label in found.columns.tolist())


def test_python_frames_go_through_the_same_checks() -> None:
    checker = checker_of()
    with pytest.raises(SchemaError) as caught:
        checker.read_arguments((FRAME.assign(age=[1.5, 2.0], extra=1).drop(columns="city"),), {})
    assert [str(fault) for fault in caught.value.faults] == [
        "rows[0].age: expected int64, got float",
        "city: expected str, got nothing",
        "extra: expected no such column, got a value",
    ]
    row = checker.read_arguments((ROW,), {})
    assert (row.form, row.n_rows) == ("row", 1)


@pytest.mark.parametrize(
    "column, values",
    [
        pytest.param("age", pd.Series([1.0, 2.0]), id="whole-floats-for-ints"),
        pytest.param("age", pd.Series([1, 2], dtype="Int8"), id="nullable-for-ints"),
        pytest.param("age", pd.Series([1, 2], dtype="uint16"), id="narrow-for-ints"),
        pytest.param("income", pd.Series([1, 2]), id="ints-for-floats"),
        pytest.param("income", pd.Series([1.5, None], dtype="Float64"), id="nullable-for-floats"),
        pytest.param("city", pd.Series(["x", "y"], dtype=object), id="objects-for-texts"),
        pytest.param("city", pd.Series(["x", "y"], dtype="category"), id="category-for-texts"),
        pytest.param("segment", pd.Series(["b", None]), id="texts-for-category"),
        pytest.param("since", pd.Series(["2024-01-01", None]), id="texts-for-times"),
        pytest.param(
            "since", pd.to_datetime(pd.Series(["2024", "2025"])).dt.as_unit("ns"), id="ns"
        ),
    ],
)
def test_python_columns_that_lose_nothing(column: str, values: pd.Series[Any]) -> None:
    found = checker_of().read_arguments((FRAME.assign(**{column: values}),), {}).arguments()["df"]
    assert list(found.dtypes) == list(FRAME.dtypes)
    if column != "since":
        plain = [
            one.astype(object).where(one.notna(), None).tolist() for one in (found[column], values)
        ]
        assert plain[0] == plain[1]


@pytest.mark.parametrize(
    "column, values, fault",
    [
        pytest.param("age", [1.5, 2.0], "rows[0].age: expected int64, got float", id="fraction"),
        pytest.param("age", [True, False], "rows[0].age: expected int64, got bool", id="bools"),
        pytest.param("age", ["1", "2"], "rows[0].age: expected int64, got str", id="texts"),
        pytest.param("age", [1, np.nan], "rows[1].age: expected int64, got NaN", id="nan"),
        pytest.param(
            "income",
            [2**53 + 1, 1],
            "rows[0].income: expected float or null, got int that a float would round",
            id="big-int",
        ),
        pytest.param(
            "city",
            pd.Series(["x", None], dtype=object),
            "rows[1].city: expected str, got null",
            id="null-text",
        ),
        pytest.param(
            "segment",
            ["a", "z"],
            "rows[1].segment: expected one of 2 levels, got str that is none of them",
            id="unknown-level",
        ),
    ],
)
def test_python_columns_that_lose_something(column: str, values: list[Any], fault: str) -> None:
    with pytest.raises(SchemaError) as caught:
        checker_of().read_arguments((FRAME.assign(**{column: values}),), {})
    assert str(caught.value.faults[0]) == fault


def two(x: pd.DataFrame, y: int, scale: float = 1.0) -> float:
    return scale * y


def two_checker(**options: Any) -> Checker:
    schema = infer_function(two, name="two", api_input={"x": FRAME[["age"]], "y": 3})
    return compile_checker(schema, **options)


@pytest.mark.parametrize(
    "x",
    [
        pytest.param({"age": 5}, id="row"),
        pytest.param([{"age": 5}], id="rows"),
        pytest.param({"age": [5]}, id="columns"),
    ],
)
def test_a_frame_beside_other_parameters(x: Any) -> None:
    call = two_checker().read_json(json.dumps({"x": x, "y": 2}).encode())
    assert (call.form, call.n_rows) == ("parameters", None)
    arguments = call.arguments()
    pd.testing.assert_frame_equal(arguments.pop("x"), pd.DataFrame({"age": [5]}))
    assert arguments == {"y": 2}


@pytest.mark.parametrize(
    "body, faults",
    [
        pytest.param(
            {"x": [{"age": "a"}], "z": 1},
            [
                "x[0].age: expected int64, got str",
                "y: expected int, got nothing",
                "z: expected no such parameter, got a value",
            ],
            id="all-at-once",
        ),
        pytest.param(
            [], ["body: expected object with a member per parameter, got list"], id="list"
        ),
    ],
)
def test_faults_of_parameters(body: Any, faults: list[str]) -> None:
    assert faults_of(two_checker(), body) == faults


def test_two_members_of_one_name_are_refused() -> None:
    body = b'{"x": [{"age": 1}], "y": 1, "y": 2}'
    assert "two members of one name" in faults_of(two_checker(), body)[0]
    nested = b'{"x": [{"age": 1, "age": 2}], "y": 1}'
    assert "two members of one name" in faults_of(two_checker(), nested)[0]


def test_python_arguments_are_bound_by_place_and_name() -> None:
    checker = two_checker()
    frame = FRAME[["age"]]
    assert checker.read_arguments((frame, 2), {"scale": 3}).arguments()["scale"] == 3.0
    with pytest.raises(SchemaError, match="y: expected one value, got two, by place and by name"):
        checker.read_arguments((frame, 2), {"y": 2})
    with pytest.raises(SchemaError, match="expected 3 arguments, got 4"):
        checker.read_arguments((frame, 2, 3.0, 4), {})
    with pytest.raises(SchemaError, match="z: expected no such parameter"):
        checker.read_arguments((frame, 2), {"z": 1})
    with pytest.raises(SchemaError, match="df: expected frame, got nothing"):
        checker_of().read_arguments((), {})
    with pytest.raises(SchemaError, match="other: expected no such parameter"):
        checker_of().read_arguments((FRAME,), {"other": 1})


def test_function_without_parameters_takes_an_empty_body() -> None:
    checker = compile_checker(t.FunctionSchema((), t.Integer()))
    assert checker.read_json(b"").arguments() == {}
    assert checker.read_json(b"{}").arguments() == {}
    assert faults_of(checker, {"x": 1}) == ["x: expected no such parameter, got a value"]


def test_only_one_frame_takes_arrow_and_is_joined() -> None:
    checker = two_checker()
    assert not checker.takes_one_frame
    with pytest.raises(SchemaError, match="only a function of one frame takes Arrow"):
        checker.read_arrow(pa.table({"age": [1]}))
    with pytest.raises(TypeError, match="can be joined"):
        checker.join([])


def test_classes_that_cannot_be_imported_come_with_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", module)
    source = (
        "import dataclasses, enum\n"
        "class Kind(enum.Enum):\n    A = 'a'\n"
        "@dataclasses.dataclass\nclass Point:\n    x: int\n    kind: Kind\n"
        "def f(points: list[Point]) -> Point:\n    return points[0]\n"
    )
    exec(compile(source, "notebook", "exec", dont_inherit=True), vars(module))
    function = module.f
    schema = infer_function(function, name="f")
    monkeypatch.delitem(sys.modules, "notebook")
    with pytest.raises(SchemaError, match="the class Point of module notebook is needed"):
        compile_checker(schema)
    assert set(classes_of(function)) == {"notebook:Point", "notebook:Kind"}
    checker = compile_checker(schema, function=function)
    call = checker.read_json(b'{"points": [{"x": 1, "kind": "a"}]}')
    point = function(**call.arguments())
    assert dataclasses.asdict(point)["x"] == 1
    assert checker.write_json(point, call) == b'{"x":1,"kind":"a"}'


def test_quoted_annotations_travel_once_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("script")
    monkeypatch.setitem(sys.modules, "script", module)
    source = (
        "from __future__ import annotations\n"
        "import dataclasses, enum\n"
        "class Kind(enum.Enum):\n    A = 'a'\n"
        "@dataclasses.dataclass\nclass Point:\n    kind: Kind\n"
        "class Model:\n    def predict(self, point: Point, other: Nowhere = 1) -> Kind:\n"
        "        return point.kind\n"
    )
    exec(compile(source, "script", "exec", dont_inherit=True), vars(module))
    predict = module.Model().predict
    settle_annotations(predict)
    assert predict.__annotations__ == {
        "point": module.Point,
        "other": "Nowhere",
        "return": module.Kind,
    }
    assert module.Point.__annotations__ == {"kind": module.Kind}
    monkeypatch.delitem(sys.modules, "script")
    assert set(classes_of(predict)) == {"script:Point", "script:Kind"}


@pytest.mark.parametrize(
    "body", [pytest.param(b'{"age": 1}', id="json"), pytest.param(None, id="frame")]
)
def test_a_function_that_changes_its_frame_spoils_no_later_call(body: bytes | None) -> None:
    frame = pd.DataFrame({"age": [1]})
    checker = checker_of(frame)
    call = checker.read_arguments((frame,), {}) if body is None else checker.read_json(body)
    for _ in range(2):
        given = call.arguments()["df"]
        assert given.to_dict("list") == {"age": [1]}
        given["more"] = 1
        given.loc[0, "age"] = 5
    assert frame.to_dict("list") == {"age": [1]}


def test_output_must_be_known_to_be_written() -> None:
    checker = compile_checker(t.FunctionSchema((t.Parameter("x", t.Integer()),)))
    assert checker.read_json(b'{"x": 1}').arguments() == {"x": 1}
    with pytest.raises(SchemaError, match="give api_output or an annotation"):
        checker.write_json(1)


def test_with_output_of_a_frame() -> None:
    def double(df):  # type: ignore[no-untyped-def]
        return df * 2

    schema = infer_function(double, name="double", api_input=FRAME[["age"]])
    schema = with_output(schema, FRAME[["age"]] * 2, function=double, name="double")
    assert isinstance(schema.output, t.Frame)
