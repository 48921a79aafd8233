"""A registry with something to look at: models, metrics, a rule, releases, a rollback to make."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pandas as pd

import envelope as me
from envelope.config import DesiredState
from envelope.connection import Connection, connect

DEPLOYMENT = "client_ltv"
HOSTILE = "<script>alert(1)</script>"
STATE = {
    "deployments": {DEPLOYMENT: {"gates": {"metrics": ["auc >= 0.5"]}}},
    "rules": {"us": {"query": "tags.region = 'US'", "deploy_to": DEPLOYMENT}},
}
GAIN = {  # of a type that whoever reads it does not have
    "type": "gain",
    "deciles": [0.5, 0.9],
    "note": HOSTILE,
    "plot": {
        "mark": "bar",
        "data": {"values": [{"decile": "first", "gain": 0.5}, {"decile": "second", "gain": 0.9}]},
        "encoding": {
            "x": {"field": "decile", "type": "nominal"},
            "y": {"field": "gain", "type": "quantitative"},
        },
        "usermeta": {"embedOptions": {"actions": True}},
    },
}
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
STRUCTURED = {
    "confusion": me.ConfusionMatrix([[8, 2], [1, 9]], labels=["no", "yes"]),
    "errors": me.Histogram([3, 9, 4], edges=[-1.0, -0.25, 0.25, 2.0]),
    "segments": me.Table(["segment", "auc"], [["US", 0.8], [HOSTILE, None]]),
    "report": me.Text(f"All is well. {HOSTILE}"),
    "residuals": me.Image(DOT, description="Residuals rise with age"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """ids: of the models, oldest first; the last but one is live, the one before was."""

    connection: Connection
    ids: tuple[str, ...]


def fill() -> Filled:
    """Fill this process's registry."""
    frame = pd.DataFrame(
        {"age": range(20, 60), "region": ["US", "UK"] * 20, "income": [1.5 * n for n in range(40)]}
    )
    ids = []
    for number in range(4):
        weight = float(number + 1)

        def predict_ltv(x: pd.DataFrame, weight: float = weight) -> pd.Series:
            """Predict the lifetime value of clients."""
            return x["income"] * weight

        saved = me.save_model(
            name="client_ltv",
            description=f"Predicts client LTV, {HOSTILE}",
            query_function=lambda x, f=predict_ltv: f(x),
            api_input=frame,
            api_output=predict_ltv(frame),
            tags={"canonical_name": "client_ltv", "region": "US" if number < 3 else "UK"},
            hyperparameters={"weight": weight},
        )
        curve = me.Curve(x=[0.0, 0.2, 1.0], y=[0.0, 0.6 + number / 10, 1.0])
        saved.log_metrics(auc=0.7 + number / 50, roc=curve, losses=[1.0, 0.5, 0.25])
        saved.log_metrics(gain=GAIN)
        ids.append(saved.id)
        if number == 0:
            saved.log_metrics(STRUCTURED)
    connection = connect()
    registry = connection.registry
    registry.apply_state(DesiredState.model_validate(STATE), actor="ann")
    for envelope_id, states in [
        (ids[1], ("gated", "starting", "live", "retired")),
        (ids[2], ("gated", "starting", "live")),
    ]:
        release = registry.create_release(
            deployment=DEPLOYMENT,
            envelope_id=envelope_id,
            rule="us",
            rule_version=1,
            config_version=1,
            actor="controller",
            reason="the newest match of rule us",
        )
        for state in states:
            registry.move_release(release.id, state, reason=f"{state}: all well", actor="c")
    return Filled(connection=connection, ids=tuple(ids))
