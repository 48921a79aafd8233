"""Save a model with one call; everything else is derived or configured.

    import envelope as me

    env = me.save_model(name="client_ltv", model=model, query_function="predict", api_input=df_X,
                        tags={"region": "US"})
    env.log_metrics(auc=0.91)
    me.latest(region="US").query(df_X.head())

Importing this loads nothing: each name is fetched from its module when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envelope.catalog import find, get, latest, metrics_frame
    from envelope.delivery import deploy
    from envelope.errors import EnvelopeError
    from envelope.handle import Envelope
    from envelope.metrics import (
        ConfusionMatrix,
        Curve,
        Histogram,
        Image,
        Table,
        Text,
        Vector,
        metric_type,
    )
    from envelope.save import save_model
    from envelope.tables import read_table

__all__ = [
    "ConfusionMatrix",
    "Curve",
    "Envelope",
    "EnvelopeError",
    "Histogram",
    "Image",
    "Table",
    "Text",
    "Vector",
    "deploy",
    "find",
    "get",
    "latest",
    "metric_type",
    "metrics_frame",
    "read_table",
    "save_model",
]

_HOMES = {
    "ConfusionMatrix": "envelope.metrics",
    "Curve": "envelope.metrics",
    "Envelope": "envelope.handle",
    "EnvelopeError": "envelope.errors",
    "Histogram": "envelope.metrics",
    "Image": "envelope.metrics",
    "Table": "envelope.metrics",
    "Text": "envelope.metrics",
    "Vector": "envelope.metrics",
    "deploy": "envelope.delivery",
    "find": "envelope.catalog",
    "get": "envelope.catalog",
    "latest": "envelope.catalog",
    "metric_type": "envelope.metrics",
    "metrics_frame": "envelope.catalog",
    "read_table": "envelope.tables",
    "save_model": "envelope.save",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
