"""The gate on the latency of the sample, as a replica judges it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest

import envelope as me
from ray_runtime import latency
from ray_runtime.latency import LatencyError, check_latency
from ray_runtime.live import start
from tests.unit.runtime.conftest import as_if_in_a_notebook, frame, options_for


def test_a_slow_call_has_both_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CALLS", 3)
    with pytest.raises(LatencyError, match=r"p99 of 3 calls.*allows 1 ms"):
        check_latency("predict", lambda: time.sleep(0.003), 1)


def test_one_slow_round_is_the_nodes_fault() -> None:
    calls = iter(range(1000))

    def slow_at_first() -> None:
        if next(calls) < 2:
            time.sleep(0.05)

    assert check_latency("predict", slow_at_first, 20) < 20


def test_a_replica_that_is_too_slow_does_not_start(home: Path) -> None:
    @as_if_in_a_notebook
    class Sleeps:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            import time

            time.sleep(0.005)
            return frame["x"] * 2.0

    saved = me.save_model(name="m", model=Sleeps(), query_function="predict", api_input=frame())
    options = options_for(saved)
    asyncio.run(start(replace(options, p99_ms=5000))).pool.close()
    with pytest.raises(LatencyError, match="predict answers its sample in"):
        asyncio.run(start(replace(options, p99_ms=1)))
