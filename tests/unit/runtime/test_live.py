"""What must be right before a replica counts as ready."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import envelope as me
from envelope.connection import connect
from envelope.errors import IntegrityError
from envelope.replay import ReplayError
from ray_runtime.live import start
from tests.unit.runtime.conftest import as_if_in_a_notebook, frame, options_for


def save(model: Any, **options: Any) -> me.Envelope:
    return me.save_model(
        name="m", model=model, query_function="predict", api_input=frame(), **options
    )


def model_that_depends_on(path: Path) -> Any:
    """Adds the number in a file: what an envelope does not hold."""

    @as_if_in_a_notebook
    class Depends:
        def __init__(self, path: str) -> None:
            self.path = path

        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            with open(self.path) as file:
                return np.asarray(frame["x"] + float(file.read()))

    return Depends(str(path))


def test_another_answer_to_the_sample_fails_the_start(tmp_path: Path, home: Path) -> None:
    secret = tmp_path / "number"
    secret.write_text("1")
    saved = save(model_that_depends_on(secret))
    asyncio.run(start(options_for(saved))).pool.close()
    secret.write_text("1.5")
    with pytest.raises(ReplayError) as caught:
        asyncio.run(start(options_for(saved)))
    text = str(caught.value)
    assert "predict answers its saved sample differently here" in text
    assert "[0]: relative difference" in text
    assert "sample=False" in text


def test_a_model_that_cannot_answer_its_sample_fails_the_start(tmp_path: Path, home: Path) -> None:
    secret = tmp_path / "number"
    secret.write_text("1")
    saved = save(model_that_depends_on(secret))
    secret.unlink()
    with pytest.raises(ReplayError, match="fails on its own sample here: FileNotFoundError"):
        asyncio.run(start(options_for(saved)))


def test_without_a_sample_there_is_nothing_to_replay(tmp_path: Path, home: Path) -> None:
    secret = tmp_path / "number"
    secret.write_text("1")
    saved = save(model_that_depends_on(secret), sample=False)
    secret.write_text("2")
    live = asyncio.run(start(options_for(saved)))
    assert live.replays["predict"].outcome == "not applicable"
    assert live.replays["predict"].reason == "sample=False"
    assert live.default.pace.call_ms is not None  # as it was when it was saved
    live.pool.close()


def test_a_model_without_a_fixed_answer_is_served(home: Path) -> None:
    @as_if_in_a_notebook
    class Draws:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            return np.random.default_rng().normal(size=len(frame))

    live = asyncio.run(start(options_for(save(Draws()))))
    assert live.replays["predict"].outcome == "not applicable"
    assert "differently every time" in live.replays["predict"].reason
    assert not live.default.is_shared
    live.pool.close()


def test_bytes_that_were_changed_are_refused(home: Path, sums: me.Envelope) -> None:
    for blob in (Path(connect().store.url.removeprefix("file://")) / "blobs").rglob("*"):
        if blob.is_file():
            blob.chmod(0o644)
            blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError):
        asyncio.run(start(options_for(sums)))


def test_another_manifest_than_the_registry_knows_is_refused(sums: me.Envelope) -> None:
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        asyncio.run(start(options_for(sums, manifest_sha256="0" * 64)))


def test_options_are_plain_data(sums: me.Envelope) -> None:
    from dataclasses import asdict

    assert json.loads(json.dumps(asdict(options_for(sums))))["deployment"] == "ltv"


def test_batching_can_be_switched_off(sums: me.Envelope) -> None:
    shared = asyncio.run(start(options_for(sums)))
    alone = asyncio.run(start(options_for(sums, batching="none")))
    assert (shared.default.is_shared, alone.default.is_shared) == (True, False)
    for live in (shared, alone):
        live.pool.close()


def test_the_frame_that_the_model_gets_is_the_one_that_was_saved(home: Path) -> None:
    kinds = pd.DataFrame(
        {
            "level": pd.Categorical(["a", "b"] * 5, categories=["a", "b", "c"]),
            "when": pd.date_range("2024-01-01", periods=10, tz="Europe/Paris"),
            "count": pd.array([1, None] * 5, dtype="Int64"),
        }
    )

    @as_if_in_a_notebook
    class Types:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            return [f"{frame.level.dtype} {frame.when.dtype} {frame['count'].dtype}"] * len(frame)

    saved = me.save_model(name="m", model=Types(), query_function="predict", api_input=kinds)
    live = asyncio.run(start(options_for(saved)))
    assert live.replays["predict"].outcome == "equal"
    live.pool.close()
