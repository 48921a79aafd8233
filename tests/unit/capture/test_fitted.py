from __future__ import annotations

import json
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from envelope.capture.fitted import MAX_BYTES, MAX_VALUES, describe_fitted

X = pd.DataFrame({"a": np.arange(8.0), "b": [0.0, 1.0] * 4})
Y = 2 * X["a"] + X["b"] + 1


class Holder:
    def __init__(self, **members: Any) -> None:
        self.__dict__.update(members)


def fitted(value: Any) -> Any:
    return describe_fitted(Holder(value_=value)).get("fitted", {}).get("value_")


def test_a_linear_model_shows_its_parameters_and_coefficients() -> None:
    found = describe_fitted(LinearRegression().fit(X, Y))
    assert found["type"] == "sklearn.linear_model._base.LinearRegression"
    assert found["params"]["fit_intercept"] is True
    assert found["fitted"]["coef_"] == pytest.approx([2.0, 1.0])
    assert found["fitted"]["intercept_"] == pytest.approx(1.0)
    assert found["fitted"]["feature_names_in_"] == ["a", "b"]


def test_the_steps_of_a_pipeline_are_described_by_name() -> None:
    encode = ColumnTransformer([("hot", OneHotEncoder(), ["b"])])
    found = describe_fitted(make_pipeline(encode, StandardScaler(with_mean=False)).fit(X, Y))
    steps = found["params"]["steps"]
    assert list(steps) == ["columntransformer", "standardscaler"]
    assert steps["standardscaler"]["fitted"]["n_samples_seen_"] == 8
    hot = steps["columntransformer"]["fitted"]["transformers_"]["hot"]
    assert hot["fitted"]["categories_"] == [[0.0, 1.0]]


def test_a_booster_shows_its_importances_and_size() -> None:
    model = lightgbm.LGBMRegressor(n_estimators=3, min_child_samples=1, verbose=-1).fit(X, Y)
    found = describe_fitted(model)
    assert found["params"]["n_estimators"] == 3
    assert len(found["fitted"]["feature_importances_"]) == 2
    assert describe_fitted(model.booster_)["fitted"]["num_trees"] == 3


def test_a_forest_is_summed_up() -> None:
    found = describe_fitted(RandomForestClassifier(20, random_state=0).fit(X, X["b"]))
    assert found["fitted"]["estimators_"] == {"type": "builtins.list", "length": 20}
    assert sum(found["fitted"]["feature_importances_"]) == pytest.approx(1.0)


def test_values_of_sensitive_columns_are_left_out() -> None:
    found = describe_fitted(OneHotEncoder(categories=[[7.25, 1.5]]), values=False)
    assert "7.25" not in json.dumps(found) and "fitted" not in found


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(np.float32(0.5), 0.5, id="scalar"),
        pytest.param(float("nan"), "nan", id="nan"),
        pytest.param(np.array([1.0, np.inf]), [1.0, "inf"], id="infinite"),
        pytest.param(10**30, str(10**30), id="more-than-64-bits"),
        pytest.param("x" * 500, "x" * 200 + "...", id="long-text"),
        pytest.param("\ud800", "?", id="half-a-surrogate-pair"),
        pytest.param(pd.Series([1.0, 2.0], ["a", "b"]), {"a": 1.0, "b": 2.0}, id="series"),
        pytest.param(
            np.arange(200.0),
            {"shape": [200], "dtype": "float64", "min": 0.0, "max": 199.0, "mean": 99.5},
            id="long-array",
        ),
        pytest.param(
            np.zeros((2000, 1000)), {"shape": [2000, 1000], "dtype": "float64"}, id="big-array"
        ),
        pytest.param(
            {str(i): i for i in range(MAX_VALUES + 1)},
            {"type": "builtins.dict", "length": MAX_VALUES + 1},
            id="long-dict",
        ),
        pytest.param(print, {"type": "builtins.builtin_function_or_method"}, id="function"),
    ],
)
def test_a_value_is_shown_or_summed_up(value: Any, shown: Any) -> None:
    assert fitted(value) == shown


def test_a_circle_and_a_giant_stay_small() -> None:
    circle = Holder()
    circle.itself_ = circle  # type: ignore[attr-defined]  # any attribute may be set
    assert len(json.dumps(describe_fitted(circle))) < 2000
    giant = Holder(**{f"a{i}_": ["x" * 200] * 100 for i in range(50)})
    assert describe_fitted(giant)["left_out_bytes"] > MAX_BYTES


def test_what_shows_nothing_is_nothing() -> None:
    assert describe_fitted(len) == describe_fitted(Holder(a=1)) == describe_fitted(int) == {}


def test_an_attribute_that_raises_is_left_out() -> None:
    class Careless:
        def get_params(self) -> Any:
            raise RuntimeError("not now")

    assert describe_fitted(Careless()) == {}
