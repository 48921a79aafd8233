"""Functions and their examples -> schemas, and the refusals that say what to add."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from envelope.errors import SchemaError
from envelope.schema import (
    MISSING,
    classes_of,
    compile_checker,
    example_arguments,
    infer_function,
    needs_output,
    settle_annotations,
    with_output,
)
from envelope.schema import types as t

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]  # never imported: the point

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]})
FRAME_TYPE = t.Frame(
    (
        t.Column("a", t.Integer(64), "int64", "numpy"),
        t.Column("b", t.Float(nan=True), "float64", "numpy"),
    )
)
VECTOR = t.Array("float64", t.Float(nan=True), (None,))


def plain(x: float, y: list[int]) -> list[float]:
    return [x, *y]


def mixed(x: pd.DataFrame, y):  # type: ignore[no-untyped-def]  # the talks' own example
    return x


def one_frame(df: pd.DataFrame) -> float:
    return float(df["a"].sum())


def no_hints(x, y=2):  # type: ignore[no-untyped-def]
    return x


def defaults(x: int, y: float = 0.5, mode: Literal["a", "b"] = "a", z: int = None) -> int:  # type: ignore[assignment]  # noqa: RUF013
    return x


def keyword_only(*, x: int, y: int = 2) -> int:
    return x + y


def open_default(x: int, rows: pd.DataFrame | None = None, more: list = []) -> int:  # type: ignore[type-arg]  # noqa: B006
    return x


def nothing() -> int:
    return 1


def takes_dict(options: dict[str, int]) -> int:
    return 1


def unhinted_dict(options):  # type: ignore[no-untyped-def]
    return 1


def quoted(x: Unknown, y: int) -> Unknown:
    return x


async def slow(x: int) -> int:
    return x


class Model:
    def predict(self, x: int) -> int:
        return x

    @staticmethod
    def static(x: int) -> int:
        return x

    @classmethod
    def of_class(cls, x: int) -> int:
        return x

    def __call__(self, x: int) -> int:
        return x


X_INT = t.FunctionSchema((t.Parameter("x", t.Integer()),), t.Integer())


@pytest.mark.parametrize(
    "function, api_input, expected",
    [
        pytest.param(
            plain,
            MISSING,
            t.FunctionSchema(
                (t.Parameter("x", t.Float()), t.Parameter("y", t.ListOf(t.Integer()))),
                t.ListOf(t.Float()),
            ),
            id="annotations-say-it-all",
        ),
        pytest.param(
            mixed,
            {"x": FRAME, "y": 3},
            t.FunctionSchema((t.Parameter("x", FRAME_TYPE), t.Parameter("y", t.Integer()))),
            id="annotation-and-example-for-each",
        ),
        pytest.param(
            one_frame,
            FRAME,
            t.FunctionSchema((t.Parameter("df", FRAME_TYPE),), t.Float()),
            id="one-frame",
        ),
        pytest.param(
            one_frame,
            {"df": FRAME},
            t.FunctionSchema((t.Parameter("df", FRAME_TYPE),), t.Float()),
            id="one-frame-by-name",
        ),
        pytest.param(
            no_hints,
            np.ones(3),
            t.FunctionSchema((t.Parameter("x", VECTOR),)),
            id="default-without-hint-is-left-out",
        ),
        pytest.param(
            no_hints,
            {"x": np.ones(3), "y": 3},
            t.FunctionSchema(
                (
                    t.Parameter("x", VECTOR),
                    t.Parameter("y", t.Integer(), required=False, default=2),
                )
            ),
            id="default-with-example",
        ),
        pytest.param(
            defaults,
            MISSING,
            t.FunctionSchema(
                (
                    t.Parameter("x", t.Integer()),
                    t.Parameter("y", t.Float(), required=False, default=0.5),
                    t.Parameter("mode", t.OneOf(("a", "b")), required=False, default="a"),
                    t.Parameter("z", t.Maybe(t.Integer()), required=False, default=None),
                ),
                t.Integer(),
            ),
            id="defaults",
        ),
        pytest.param(
            keyword_only,
            MISSING,
            t.FunctionSchema(
                (
                    t.Parameter("x", t.Integer()),
                    t.Parameter("y", t.Integer(), required=False, default=2),
                ),
                t.Integer(),
            ),
            id="keyword-only",
        ),
        pytest.param(
            open_default,
            MISSING,
            t.FunctionSchema((t.Parameter("x", t.Integer()),), t.Integer()),
            id="open-default-is-left-out",
        ),
        pytest.param(nothing, MISSING, t.FunctionSchema((), t.Integer()), id="no-parameters"),
        pytest.param(
            takes_dict,
            {"options": 1},
            t.FunctionSchema(
                (t.Parameter("options", t.MapOf(t.Text(), t.Integer())),), t.Integer()
            ),
            id="one-dict-is-the-example-itself",
        ),
        pytest.param(
            unhinted_dict,
            {"a": 1},
            t.FunctionSchema((t.Parameter("options", t.Record((t.Field("a", t.Integer()),))),)),
            id="unhinted-dict",
        ),
        pytest.param(Model().predict, MISSING, X_INT, id="method"),
        pytest.param(Model.static, MISSING, X_INT, id="staticmethod"),
        pytest.param(Model.of_class, MISSING, X_INT, id="classmethod"),
        pytest.param(Model(), MISSING, X_INT, id="callable"),
        pytest.param(slow, MISSING, X_INT, id="async"),
        pytest.param(
            functools.partial(keyword_only, y=5),
            MISSING,
            t.FunctionSchema(
                (
                    t.Parameter("x", t.Integer()),
                    t.Parameter("y", t.Integer(), required=False, default=5),
                ),
                t.Integer(),
            ),
            id="partial",
        ),
        pytest.param(
            quoted,
            {"x": 1.5, "y": 1},
            t.FunctionSchema((t.Parameter("x", t.Float()), t.Parameter("y", t.Integer()))),
            id="example-for-a-name-that-is-not-there",
        ),
        pytest.param(
            LinearRegression().predict,
            FRAME,
            t.FunctionSchema((t.Parameter("X", FRAME_TYPE),)),
            id="sklearn",
        ),
        pytest.param(
            lightgbm.LGBMRegressor().predict,
            FRAME,
            t.FunctionSchema((t.Parameter("X", FRAME_TYPE),)),
            id="options-of-a-library-are-left-out",
        ),
    ],
)
def test_infer_function(
    function: Callable[..., Any], api_input: Any, expected: t.FunctionSchema
) -> None:
    assert infer_function(function, name="f", api_input=api_input) == expected


def positional(x: int, /) -> int:
    return x


def generator(x: int) -> Iterator[int]:
    yield x


def arguments(*args: int, **options: int) -> int:
    return 1


class Stream:
    async def __call__(self, x: int):  # type: ignore[no-untyped-def]
        yield x


def iterator(x: int) -> Iterator[int]:
    return iter([x])


@pytest.mark.parametrize(
    "function, api_input, message",
    [
        pytest.param(
            mixed, MISSING, "parameter x of f is annotated with DataFrame", id="frame-no-example"
        ),
        pytest.param(
            mixed, FRAME, "give a dict of parameter name -> example, for x, y", id="one-for-two"
        ),
        pytest.param(
            mixed, {"x": FRAME}, "the keys x; give a dict of parameter name", id="one-missing"
        ),
        pytest.param(
            no_hints, MISSING, "has no annotation and no example; annotate it", id="nothing-known"
        ),
        pytest.param(quoted, MISSING, "'Unknown', which is not defined", id="unknown-name"),
        pytest.param(positional, MISSING, "without the /", id="positional-only"),
        pytest.param(generator, MISSING, "return a list instead", id="generator"),
        pytest.param(
            functools.wraps(generator)(lambda x: generator(x)), MISSING, "a generator", id="wrapped"
        ),
        pytest.param(
            functools.partial(functools.partial(generator)), MISSING, "a generator", id="partials"
        ),
        pytest.param(Stream(), MISSING, "a generator", id="async-generator-object"),
        pytest.param(Model.predict, MISSING, "is a method of no object", id="unbound"),
        pytest.param(Model, MISSING, "f is a class; pass an instance", id="class"),
        pytest.param(arguments, MISSING, "wrap it in a function with named", id="args"),
        pytest.param(iterator, MISSING, "take and return lists", id="iterator-output"),
        pytest.param(nothing, 3, "takes no parameters; leave api_input out", id="no-parameters"),
        pytest.param(3, MISSING, "f is a int, not a function", id="not-callable"),
        pytest.param(dict.get, MISSING, "of f is positional-only", id="builtin"),
        pytest.param(max, MISSING, "does not say what parameters it takes", id="no-signature"),
    ],
)
def test_refusals_say_what_to_add(function: Any, api_input: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        infer_function(function, name="f", api_input=api_input)
    assert message in str(caught.value)


def open_output(x: int) -> np.ndarray[Any, Any]:
    return np.ones(x)


@pytest.mark.parametrize(
    "function, output, expected",
    [
        pytest.param(no_hints, 1.5, t.Float(), id="no-annotation"),
        pytest.param(open_output, np.ones(2), VECTOR, id="open-annotation"),
        pytest.param(quoted, "a", t.Text(), id="unknown-name"),
    ],
)
def test_output_of_a_call_completes_the_schema(
    function: Callable[..., Any], output: Any, expected: t.Type
) -> None:
    example = {"x": 1, "y": 1} if function is quoted else 1
    schema = infer_function(function, name="f", api_input=example)
    assert needs_output(schema)
    schema = with_output(schema, output, function=function, name="f")
    assert schema.output == expected
    assert not needs_output(schema)


def test_output_example_is_used() -> None:
    schema = infer_function(no_hints, name="f", api_input=1, api_output=[1.5])
    assert schema.output == t.ListOf(t.Float())


def test_undescribable_output_is_refused() -> None:
    schema = infer_function(no_hints, name="f", api_input=1)
    with pytest.raises(SchemaError, match=r"the output of f is a builtins\.object"):
        with_output(schema, object(), function=no_hints, name="f")


@pytest.mark.parametrize(
    "function, api_input, expected",
    [
        pytest.param(one_frame, FRAME, {"df": FRAME}, id="itself"),
        pytest.param(one_frame, {"df": FRAME}, {"df": FRAME}, id="by-name"),
        pytest.param(mixed, {"x": FRAME, "y": 3}, {"x": FRAME, "y": 3}, id="several"),
        pytest.param(takes_dict, {"options": 1}, {"options": {"options": 1}}, id="dict"),
        pytest.param(defaults, 3, {"x": 3}, id="the-required-one"),
        pytest.param(nothing, MISSING, {}, id="no-parameters"),
        pytest.param(plain, MISSING, None, id="no-example"),
    ],
)
def test_example_arguments(
    function: Callable[..., Any], api_input: Any, expected: dict[str, Any] | None
) -> None:
    schema = infer_function(function, name="f", api_input=api_input)
    assert example_arguments(schema, api_input) == expected


def local_function() -> Any:
    """Quoted annotations that name what is local to a function, which goes on to save one."""

    @dataclasses.dataclass
    class Base:
        at: Kind | None

    @dataclasses.dataclass
    class Point(Base):
        next: Point | None = None

    class Kind(enum.Enum):
        NEAR = "near"

    class Options(TypedDict, total=False):
        kind: Kind

    def place(point: Point, options: Options) -> Kind:
        return Kind.NEAR

    schema = infer_function(place, name="place")
    settle_annotations(place)
    return place, schema, (Point, Options, Kind)


def test_local_classes_are_found_where_they_are_local() -> None:
    place, schema, classes = local_function()
    point, options = (parameter.type for parameter in schema.parameters)
    assert isinstance(point, t.Record) and isinstance(options, t.Record)
    assert [field.name for field in point.fields] == ["at", "next"]
    assert isinstance(point.fields[0].type, t.Maybe)
    assert isinstance(point.fields[0].type.of, t.Enumeration)
    assert isinstance(point.fields[1].type, t.Maybe)
    assert isinstance(point.fields[1].type.of, t.Recursion)
    # Settled, they are found anywhere: the function brings them along.
    assert infer_function(place, name="place") == schema
    assert set(classes) <= set(classes_of(place).values())
    call = compile_checker(schema, function=place).read_json(
        b'{"point": {"at": "near"}, "options": {"kind": "near"}}'
    )
    kind = classes[2].NEAR
    assert call.arguments() == {"point": classes[0](at=kind), "options": {"kind": kind}}


def closing() -> Any:
    @dataclasses.dataclass
    class Point:
        x: int

    def place(point: Point) -> int:
        assert isinstance(point, Point)
        return point.x

    return place


def test_classes_that_a_function_closes_over_are_found() -> None:
    schema = infer_function(closing(), name="place")
    assert isinstance(schema.parameters[0].type, t.Record)
