"""Where envelopes go: the embedded registry and store, S3, PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import envelope as me
from envelope.connection import connect, disconnect

pytestmark = pytest.mark.usefixtures("by_value")


def double(x: float) -> float:
    return 2 * x


def save(name: str = "m", **tags: str) -> me.Envelope:
    return me.save_model(name=name, query_function=double, api_input=1.0, tags=tags)


def test_the_embedded_default_needs_nothing_to_be_started(home: Path) -> None:
    envelope = save()
    assert (home / "registry.db").is_file()
    assert (home / "store" / "envelopes" / envelope.id / "manifest.json").is_file()


def test_connections_are_opened_once_per_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = connect()
    assert connect() is first
    monkeypatch.setenv("ENVELOPE_HOME", str(tmp_path / "other"))
    assert connect() is not first
    disconnect()
    monkeypatch.undo()


def test_a_model_can_be_saved_to_s3(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVELOPE_STORE", s3)
    frame = pd.DataFrame({"a": np.arange(20.0)})
    envelope = me.save_model(
        name="m",
        query_function=lambda features: features["a"] * 2,
        api_input=frame,
    )
    assert envelope.query(frame).tolist() == (frame["a"] * 2).tolist()
    assert list(connect().store.envelope_ids()) == [envelope.id]


def test_a_team_registry_on_postgresql(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("ENVELOPE_REGISTRY", postgres_url)
    envelope = save(region="US")
    envelope.log_metrics(auc=0.9)
    envelope.add_query_function(lambda x: x + 1, "more", api_input=1)
    assert me.latest("metrics.auc > 0.8", region="US") == envelope
    assert me.get(envelope.id[:20]).query(2, function="more") == 3
    assert me.metrics_frame(region="US")["auc"].tolist() == [0.9]
    assert not (home / "registry.db").exists()
