"""Four envelopes of different shape, for tests of what every deployment promises.

Hints are looked up in the module that a class says it is of, so here they are no texts.
"""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import annotated_types
import numpy as np
import pandas as pd

import envelope as me
from tests.unit.runtime.conftest import as_if_in_a_notebook


def clients(rows: int = 12) -> pd.DataFrame:
    """A row of each kind of column that people have."""
    places = np.arange(rows)
    plans = pd.Categorical.from_codes(places % 3, ["basic", "plus", "pro"])
    return pd.DataFrame(
        {
            "age": (20 + places).astype("int64"),
            "income": 1000.0 + 250.5 * places,
            "visits": pd.array([None if n % 5 == 4 else n for n in range(rows)], dtype="Int32"),
            "plan": plans,
            "since": pd.date_range("2024-01-31T08:00", periods=rows, freq="9h", tz="UTC"),
            "note": [f'no. {n}, "quoted" <b>it\'s</b>' for n in range(rows)],
            "is_new": places % 2 == 0,
        }
    )


def row_wise(*, sample: bool = True) -> me.Envelope:
    class Churn:
        def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
            steps = frame["plan"].cat.codes.to_numpy(dtype=float)
            visits = frame["visits"].fillna(0).to_numpy(dtype=float)
            age = frame["age"].to_numpy(dtype=float)
            income = frame["income"].to_numpy(dtype=float)
            return np.tanh(age / 1e3) + np.tanh(np.nan_to_num(income) / 1e9) + steps + visits / 1e9

    return me.save_model(
        name="churn <model> & co",
        description="Tells who leaves; <script>alert(1)</script>",
        model=as_if_in_a_notebook(Churn)(),
        query_function="predict",
        api_input=clients(),
        sample=sample,
    )


def matrix() -> me.Envelope:
    def score(x):  # type: ignore[no-untyped-def] # what the example is for
        return np.tanh(x).sum(axis=1)

    return me.save_model(
        name="scores",
        query_function=as_if_in_a_notebook(score),
        api_input={"x": np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)},
    )


@as_if_in_a_notebook
@dataclass(frozen=True)
class Address:
    street: str
    number: Annotated[int, annotated_types.Ge(1)]
    tags: list[str] = field(default_factory=list)


def parameters() -> me.Envelope:
    def price(
        amount: Annotated[float, annotated_types.Gt(0), annotated_types.Le(1e6)],
        currency: Literal["EUR", "USD"],
        day: datetime.date,
        address: Address,
        code: Annotated[str, annotated_types.Len(2, 8)] = "none",
        *,
        weights: dict[str, int] | None = None,
        at: datetime.datetime | None = None,
    ) -> dict[str, float]:
        return {"price": amount * (2.0 if currency == "EUR" else 1.0), "day": float(day.day)}

    return me.save_model(
        name="prices",
        query_function=as_if_in_a_notebook(price),
        api_input={
            "amount": 12.5,
            "currency": "EUR",
            "day": datetime.date(2024, 2, 29),
            "address": Address('It\'s "the" <street>', 3, ["a"]),
            "code": "x$y",
            "weights": {"a": 1},
            "at": datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC),
        },
    )


def mixed() -> me.Envelope:
    def share(frame: pd.DataFrame, city: str, above: float = 0.5) -> float:
        inside = frame[frame["city"] == city]
        return float((inside["score"] > above).mean()) if len(inside) else 0.0

    return me.save_model(
        name="shares",
        query_function=as_if_in_a_notebook(share),
        api_input={
            "frame": pd.DataFrame({"city": ["Bonn", "Ulm", "Bonn"], "score": [0.1, 0.9, 0.75]}),
            "city": "Bonn",
            "above": 0.25,
        },
    )


SHAPES: dict[str, Callable[[], me.Envelope]] = {
    "row-wise": row_wise,
    "matrix": matrix,
    "parameters": parameters,
    "mixed": mixed,
}
