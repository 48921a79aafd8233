"""Differences, as tables: literal in, literal out."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from envelope.diff import Described, as_text, diff
from envelope.diff.changes import Change, TextChange, changes, flatten, text_change
from envelope.diff.difference import FunctionChange
from envelope.diff.moments import ColumnChange, moment_changes
from envelope.diff.schemas import TypeChange, schema_changes
from envelope.manifest import Function, Package, RowWise
from envelope.schema import types as t
from tests.manifests import a_manifest, an_environment

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROW_WISE = RowWise(is_row_wise=True, reason="tried", rows=8)


def column(name: str, kind: t.Type, dtype: str = "float64", **more: Any) -> t.Column:
    return t.Column(name=name, type=kind, dtype=dtype, storage="numpy", **more)


def of_frame(*columns: t.Column, output: t.Type | None = None) -> t.FunctionSchema:
    frame = t.Frame(columns=columns)
    return t.FunctionSchema(parameters=(t.Parameter("df", frame),), output=output or t.Float())


def of(*parameters: t.Parameter, output: t.Type | None = None) -> t.FunctionSchema:
    return t.FunctionSchema(parameters=parameters, output=output or t.Float())


def levels(*names: str, ordered: bool = False) -> t.Column:
    kind = t.Categorical(of=t.Text(), levels=names, ordered=ordered)
    return t.Column(name="city", type=kind, dtype="category", storage="category")


@pytest.mark.parametrize(
    "old, new, found",
    [
        pytest.param({"a": 1}, {"a": 1}, [], id="equal"),
        pytest.param({}, {"a": 1}, [Change(name="a", kind="added", new=1)], id="added"),
        pytest.param({"a": 1}, {}, [Change(name="a", kind="removed", old=1)], id="removed"),
        pytest.param(
            {"a": 1}, {"a": 2}, [Change(name="a", kind="changed", old=1, new=2)], id="changed"
        ),
        pytest.param({"a": None}, {}, [Change(name="a", kind="removed")], id="null-removed"),
        pytest.param(
            {"a": 1}, {"a": True}, [Change(name="a", kind="changed", old=1, new=True)], id="true"
        ),
        pytest.param({"a": math.nan}, {"a": math.nan}, [], id="nan-is-itself"),
    ],
)
def test_changes(old: Any, new: Any, found: list[Change]) -> None:
    assert list(changes(old, new)) == found


def test_nested_hyperparameters_are_named_by_their_path() -> None:
    given = {"tree": {"depth": 3, "leaf": {"min": 1}}, "layers": [64], "none": {}}
    assert flatten(given) == {"tree.depth": 3, "tree.leaf.min": 1, "layers": [64], "none": {}}


@pytest.mark.parametrize(
    "old, new, found",
    [
        pytest.param("a\n", "a\n", None, id="equal"),
        pytest.param(
            "a\nb\n",
            b"a\nc\n",
            TextChange(
                name="f",
                kind="changed",
                text="--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+c",
            ),
            id="changed",
        ),
        pytest.param(
            None,
            "a\n",
            TextChange(name="f", kind="added", text="--- a/f\n+++ b/f\n@@ -0,0 +1 @@\n+a"),
            id="added",
        ),
        pytest.param(
            b"\xff\x00",
            b"\xff\x00\x01",
            TextChange(name="f", kind="changed", text="not a text, 2 -> 3 bytes"),
            id="bytes",
        ),
    ],
)
def test_text_changes(old: Any, new: Any, found: TextChange | None) -> None:
    assert text_change("f", old, new) == found


@pytest.mark.parametrize(
    "old, new, found",
    [
        pytest.param(
            of_frame(column("a", t.Float())), of_frame(column("a", t.Float())), [], id="equal"
        ),
        pytest.param(
            of_frame(column("a", t.Float()), column("b", t.Float())),
            of_frame(column("a", t.Integer(64), "int64"), column("c", t.Text(), "object")),
            [
                TypeChange(place="df.a", kind="changed", old="float", new="int64"),
                TypeChange(place="df.c", kind="added", new="str as object"),
                TypeChange(place="df.b", kind="removed", old="float"),
            ],
            id="columns",
        ),
        pytest.param(
            of_frame(levels("NYC", "SF")),
            of_frame(levels("NYC", "LA")),
            [
                TypeChange(
                    place="df.city",
                    kind="changed",
                    old="one of 2 levels as category",
                    new="one of 2 levels as category",
                    levels_added=("LA",),
                    levels_removed=("SF",),
                )
            ],
            id="levels",
        ),
        pytest.param(
            of(t.Parameter("x", t.Maybe(of=t.OneOf(values=("a", "b"))))),
            of(t.Parameter("x", t.Maybe(of=t.OneOf(values=("a",))))),
            [
                TypeChange(
                    place="x",
                    kind="changed",
                    old="one of 'a', 'b' or null",
                    new="one of 'a' or null",
                    levels_removed=("b",),
                )
            ],
            id="literal",
        ),
        pytest.param(
            of(t.Parameter("x", t.Float())),
            of(t.Parameter("x", t.Float(), required=False, default=1.0)),
            [TypeChange(place="x", kind="changed", old="float", new="float, optional = 1.0")],
            id="default",
        ),
        pytest.param(
            of(output=t.Float()),
            of(output=t.ListOf(item=t.Float())),
            [TypeChange(place="output", kind="changed", old="float", new="list[float]")],
            id="output",
        ),
        pytest.param(
            of(output=t.Record(fields=(t.Field("p", t.Float()), t.Field("q", t.Float())))),
            of(output=t.Record(fields=(t.Field("p", t.Float(), required=False),))),
            [
                TypeChange(place="output.p", kind="changed", old="float", new="float, optional"),
                TypeChange(place="output.q", kind="removed", old="float"),
            ],
            id="fields",
        ),
        pytest.param(
            of(output=t.SetOf(item=t.Float())),
            of(output=t.SetOf(item=t.Float(), frozen=True)),
            [
                TypeChange(
                    place="output",
                    kind="changed",
                    old='[{"type":"set_of","item":{"type":"float"}},""]',
                    new='[{"type":"set_of","item":{"type":"float"},"frozen":true},""]',
                )
            ],
            id="what words leave out",
        ),
    ],
)
def test_schema_changes(old: Any, new: Any, found: list[TypeChange]) -> None:
    assert list(schema_changes(old, new)) == found


def test_moments_are_side_by_side() -> None:
    def of_ages(mean: float, **more: Any) -> dict[str, Any]:
        age = {"type": "float64", "count": 10, "nulls": 0, "mean": mean, "std": 1.0}
        return {"kind": "frame", "rows": 10, "columns": {"age": {**age, **more}}}

    old = {"input": of_ages(40.0, quantiles={"q50": 39.0})}
    new = {
        "input": of_ages(42.0, levels=[["a", 1]]),
        "output": {"kind": "column", "rows": 10, "column": {"count": 10}},
    }
    assert moment_changes(old, new) == (
        ColumnChange(
            column="input.age",
            kind="changed",
            moments=(
                Change(name="mean", kind="changed", old=40.0, new=42.0),
                Change(name="q50", kind="removed", old=39.0),
            ),
        ),
        ColumnChange(column="output", kind="added"),
    )


def described(functions: dict[str, Function] | None = None, **more: Any) -> Described:
    given = {"files": {}, "metrics": {}, "tags": {}, "manifest": {}, **more}
    return Described(
        manifest=a_manifest(**given["manifest"]),
        created_at=AT,
        functions=functions or {},
        tags=given["tags"],
        metrics=given["metrics"],
        files=given["files"],
    )


def a_function(source: str, **more: Any) -> Function:
    given = {"schema": of(t.Parameter("x", t.Float())), "row_wise": ROW_WISE, **more}
    return Function(name="predict", source=source, **given)


OLD = described(
    {"predict": a_function("def predict(x):\n    return x\n"), "gone": a_function("")},
    manifest={"id": "01J00000000000000000000001", "hyperparameters": {"C": 0.1, "tree": {"n": 3}}},
    tags={"region": "US"},
    metrics={"auc": 0.9, "roc": {"type": "curve", "x": [0], "y": [1]}},
    files={"mine.py": b"A = 1\n"},
)
NEW = described(
    {
        "predict": a_function(
            "def predict(x):\n    return 2 * x\n",
            row_wise=RowWise(is_row_wise=False, reason="it does not take one DataFrame"),
            schema=of(t.Parameter("x", t.Integer(64))),
        )
    },
    manifest={
        "id": "01J00000000000000000000002",
        "hyperparameters": {"C": 0.1, "tree": {"n": 4}},
        "environment": an_environment(
            python="3.11.9",
            packages=(
                Package(name="pandas", version="2.10.2"),
                Package(name="mine", version="1", origin="git+https://x/mine@abc"),
            ),
        ),
    },
    tags={"region": "UK", "passes_tests": "true"},
    metrics={"auc": 0.91},
    files={"mine.py": b"A = 2\n"},
)
TEXT = """\
a  01J00000000000000000000001  2026-01-31 12:00  client_ltv_model
b  01J00000000000000000000002  2026-01-31 12:00  client_ltv_model

function gone
  removed

function predict
  ~ x: float -> int64
  ~ answers: one output per row -> it does not take one DataFrame
  ~ source
    --- a/predict
    +++ b/predict
    @@ -1,2 +1,2 @@
     def predict(x):
    -    return x
    +    return 2 * x

environment
  ~ python: 3.11.7 -> 3.11.9

packages
  + mine: 1 @ git+https://x/mine@abc
  ~ pandas: 2.10.1 -> 2.10.2
  - scikit-learn: 1.9.0

modules
  ~ mine.py
    --- a/mine.py
    +++ b/mine.py
    @@ -1 +1 @@
    -A = 1
    +A = 2

hyperparameters
  ~ tree.n: 3 -> 4

tags
  + passes_tests: true
  ~ region: US -> UK

metrics
  ~ auc: 0.9 -> 0.91
  - roc: curve"""


def test_the_whole_as_people_read_it() -> None:
    found = diff(OLD, NEW)
    assert as_text(found) == str(found) == TEXT
    assert FunctionChange(name="gone", kind="removed") in found.functions


def test_the_whole_as_json_keeps_every_value() -> None:
    found = msgspec.json.decode(msgspec.json.encode(diff(OLD, NEW)))
    assert found["metrics"][1]["old"] == {"type": "curve", "x": [0], "y": [1]}
    assert found["hyperparameters"] == [{"name": "tree.n", "kind": "changed", "old": 3, "new": 4}]
    assert found["a"]["id"] == "01J00000000000000000000001"


def test_alike_is_no_difference() -> None:
    assert as_text(diff(OLD, OLD)).splitlines()[-1] == "no difference"


def test_the_other_way_round_is_the_reverse() -> None:
    opposite = {"added": "removed", "removed": "added", "changed": "changed"}
    there, back = diff(OLD, NEW), diff(NEW, OLD)
    for one, other in zip(there.packages, back.packages, strict=True):
        assert (opposite[one.kind], one.old, one.new) == (other.kind, other.new, other.old)
