from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import envelope
import model_envelope

NAMES = [
    "Curve",
    "Envelope",
    "EnvelopeError",
    "Vector",
    "deploy",
    "find",
    "get",
    "latest",
    "metrics_frame",
    "read_table",
    "save_model",
]
# What a training script must not pay for before it uses it, or never.
HEAVY = [
    *("ray", "fastapi", "starlette", "sklearn", "torch", "lightgbm", "xgboost", "pandas", "numpy"),
    *("pyarrow", "sqlalchemy", "alembic", "lark", "pydantic", "fsspec", "s3fs"),
]


def run(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return json.loads(done.stdout)


def test_the_public_names_are_these() -> None:
    assert sorted(envelope.__all__) == NAMES
    assert set(NAMES) <= set(dir(envelope))


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(envelope, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'svae_model'"):
        _ = envelope.svae_model


def test_model_envelope_is_the_same_module() -> None:
    assert model_envelope is sys.modules["envelope"]


@pytest.mark.parametrize("name", ["envelope", "model_envelope"])
def test_importing_loads_nothing_heavy(name: str) -> None:
    loaded = run(f"import sys, json, {name}; print(json.dumps(sorted(sys.modules)))")
    assert sorted(set(loaded) & set(HEAVY)) == []


def test_importing_takes_under_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import envelope; print(time.perf_counter() - t)"
    assert min(run(code) for _ in range(3)) < 0.5


@pytest.mark.parametrize("module", ["envelope.catalog", "envelope.save", "envelope.cli"])
def test_the_sdk_needs_no_ray_and_no_web_server(module: str) -> None:
    loaded = run(f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))")
    assert {"ray", "fastapi", "starlette", "uvicorn", "sklearn", "torch"}.isdisjoint(loaded)
