"""What importing the SDK loads, and how long that takes, each time in a new process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

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


@pytest.mark.parametrize("name", ["envelope", "model_envelope"])
def test_importing_loads_nothing_heavy(name: str) -> None:
    loaded = run(f"import sys, json, {name}; print(json.dumps(sorted(sys.modules)))")
    assert sorted(set(loaded) & set(HEAVY)) == []


def test_importing_takes_under_half_a_second() -> None:
    code = "import time; t = time.perf_counter(); import envelope; print(time.perf_counter() - t)"
    assert min(run(code) for _ in range(3)) < 0.5


def test_the_sdk_needs_no_ray_and_no_web_server() -> None:
    modules = "envelope.catalog, envelope.save, envelope.cli"
    loaded = run(f"import sys, json, {modules}; print(json.dumps(sorted(sys.modules)))")
    assert {"ray", "fastapi", "starlette", "uvicorn", "sklearn", "torch"}.isdisjoint(loaded)
