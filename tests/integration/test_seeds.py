"""The examples of the documents that the system was first described in, run as they stand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import model_envelope as me


def load_data_somewhat() -> tuple[pd.DataFrame, pd.DataFrame]:
    random = np.random.default_rng(0)
    df_X = pd.DataFrame(random.normal(size=(200, 3)), columns=["a", "b", "c"])
    df_y = pd.DataFrame({"kind": (df_X["a"] > 0).astype(int)})
    return df_X, df_y


def test_predict_ltv() -> None:
    training_data = pd.DataFrame(
        {"client_age_days": [10, 200, 3000], "orders": [1, 5, 40], "region": ["US", "US", "UK"]}
    )

    def predict_ltv(features: pd.DataFrame) -> float:
        # DS code to predict client lifetime revenue from a set of features
        return float((features["orders"] * 37.5).sum())

    me.save_model(
        query_function=predict_ltv,
        name="client_ltv_model",
        description="Predicts client LTV from a set of features",
        tags={
            "business_line": "womens",
            "region": "US",
            "canonical_name": "client_ltv",
        },
        api_input=training_data,  # Loaded earlier, a pd.DataFrame
    )

    envelope = me.latest(business_line="womens", region="US", canonical_name="client_ltv")
    assert envelope.name == "client_ltv_model"
    assert envelope.query(training_data) == predict_ltv(training_data)


def test_log_metrics() -> None:
    def load_training_data() -> pd.DataFrame:
        return load_data_somewhat()[0]

    def load_actuals() -> pd.Series[int]:
        return load_data_somewhat()[1]["kind"]

    def train_model(data: pd.DataFrame) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().fit(data, load_actuals())

    def calculate_training_loss(predictions: Any, actuals: Any) -> float:
        from sklearn.metrics import zero_one_loss

        return zero_one_loss(actuals, predictions)

    def calculate_roc_curve(predictions: Any, actuals: Any) -> Any:
        from sklearn.metrics import roc_curve

        return roc_curve(actuals, predictions)

    training_data = load_training_data()
    actuals = load_actuals()
    model = train_model(training_data)
    envelope = me.save_model(
        name="kind", model=model, query_function="predict", api_input=training_data
    )
    predictions = model.predict(training_data)
    envelope.log_metrics(
        # Log a scalar metric named training_loss
        training_loss=calculate_training_loss(predictions, actuals),
        # Log a more structured metric named roc_curve
        roc_curve=calculate_roc_curve(predictions, actuals),
    )

    logged = me.get(envelope.id).metrics()
    assert 0 <= logged["training_loss"] < 0.2
    assert isinstance(logged["roc_curve"], me.Curve)
    assert [env.id for env in me.find("metrics.training_loss < 0.2")] == [envelope.id]


def test_the_first_step_of_the_talk() -> None:
    from sklearn import linear_model

    df_X, df_y = load_data_somewhat()
    model = linear_model.LogisticRegression()
    model.fit(df_X, df_y["kind"])

    my_envelope = me.save_model(
        name="my_model_instance_name",
        description="my_model_instance_description",
        model=model,
        query_function="predict",
        api_input=df_X,
        api_output=df_y,
        tags={"canonical_name": "foo-bar"},
    )

    # No explicit passing of scikit-learn to save_model().
    packages = {package.name for package in my_envelope.manifest.environment.packages}
    assert {"scikit-learn", "numpy", "pandas"} <= packages
    assert my_envelope.query(df_X.head()).tolist() == model.predict(df_X.head()).tolist()
