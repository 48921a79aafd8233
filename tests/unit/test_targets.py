from __future__ import annotations

import functools
import math
from typing import Any

import pytest

from envelope.errors import EnvelopeError
from envelope.targets import find_target


class Model:
    threshold = 0.5

    def predict(self, x: float) -> float:
        return x

    def predict_proba(self, x: float) -> float:
        return x

    def fit(self) -> None: ...

    def __call__(self, x: float) -> float:
        return -x


MODEL = Model()


def double(x: float) -> float:
    return 2 * x


@pytest.mark.parametrize(
    ("arguments", "name", "attribute", "obj"),
    [
        pytest.param(("predict", MODEL), "predict", "predict", MODEL, id="method-by-name"),
        pytest.param(("__call__", MODEL), "call", "__call__", MODEL, id="call-by-name"),
        pytest.param((double,), "double", None, double, id="function"),
        pytest.param((MODEL.predict,), "predict", "predict", MODEL, id="bound-method"),
        pytest.param((MODEL.predict, MODEL), "predict", "predict", MODEL, id="method-of-the-model"),
        pytest.param((math.sqrt,), "sqrt", None, math.sqrt, id="builtin-function"),
        pytest.param((MODEL,), "query", None, MODEL, id="callable-object"),
        pytest.param((double, None, "twice"), "twice", None, double, id="named"),
    ],
)
def test_the_function_is_found(
    arguments: tuple[Any, ...], name: str, attribute: str | None, obj: Any
) -> None:
    target = find_target(*arguments)
    assert (target.name, target.attribute, target.obj) == (name, attribute, obj)
    assert callable(target.call)


def test_functions_without_a_name_are_called_query() -> None:
    assert find_target(lambda x: x).name == "query"
    assert find_target(functools.partial(double, 1)).name == "double"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ("predct", MODEL),
            r"Model\.predct does not exist; query_function can be predict",
            id="misspelt",
        ),
        pytest.param(
            ("nothing_like_it", MODEL),
            r"query_function can be predict, predict_proba, fit$",
            id="unknown",
        ),
        pytest.param(("threshold", MODEL), r"Model\.threshold is not callable", id="attribute"),
        pytest.param(("predict",), "there is no model; give model=", id="no-model"),
        pytest.param((double, MODEL), "give the name of the model's method, or", id="both"),
        pytest.param((3,), "query_function is a int; give a function, or", id="number"),
        pytest.param((double, None, "a-b"), "'a-b' cannot be the name of a function", id="name"),
    ],
)
def test_what_cannot_be_meant_says_what_can(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(EnvelopeError, match=message):
        find_target(*arguments)
