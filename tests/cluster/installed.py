"""An installation as users have it: our wheel in a virtual environment, no checkout near it."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from envelope.capture.environment import platform_tag
from envelope.capture.installed import OWN_DISTRIBUTION, installed
from envelope.environment import (
    EnvironmentSpec,
    build_environment,
    repack_wheel,
    runtime_requirements,
    runtime_version,
)
from envelope.environment.runtime import runtime_roots
from envelope.manifest import Package

CHECKOUT = Path(__file__).parents[2]
OTHER_LARK = "1.1.9"  # small, pure Python, and not the version that the cluster has
ROWS = 2_000

# Run by the data scientist's Python. The model says where it runs and with what.
SAVE = """
import pandas as pd
import envelope as me

def where(frame: pd.DataFrame) -> list[str]:
    import json, sys
    import lark, ray_runtime
    seen = {"lark": lark.__version__, "runtime": ray_runtime.__file__, "path": sys.path}
    return [json.dumps(seen)] * len(frame)

frame = pd.DataFrame({"x": [float(n) for n in range(10)]})
env = me.save_model(name="where", query_function=where, api_input=frame, api_output=where(frame),
                    tags={"for": "where"}, sample=False)
print(env.id)
"""

STATE = """
deployments:
  where: {{resources: {{num_cpus: 0.2}}}}
rules:
  where: {{query: "tags.for = 'where'", deploy_to: where}}
batch_jobs:
  where:
    query: "tags.for = 'where'"
    input: {{path: {folder}/rows.parquet}}
    output: {{path: {folder}/out}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A virtual environment with our wheel in it."""

    python: Path

    def command(self, name: str) -> str:
        """The path of one of its commands."""
        return str(self.python.parent / name)


def install(root: Path, *, lark: str) -> Installation:
    """Build one, as the runtime would for a model that needs this version of lark."""
    packages = (
        Package(name="lark", version=lark),
        Package(name="pandas", version=installed().versions["pandas"]),
    )
    # As `pip install model-envelope[controller]`: the cluster's own starts a controller too.
    roots = [*runtime_roots(packages, here=installed()), f"{OWN_DISTRIBUTION}[controller]"]
    spec = EnvironmentSpec(
        python=platform.python_version(),
        platform=platform_tag(),
        packages=packages,
        constraints=runtime_requirements(packages, roots=roots),
        runtime_version=runtime_version(),
    )
    wheel = repack_wheel(OWN_DISTRIBUTION, root / ".wheels")
    return Installation(python=build_environment(spec, root, wheel=wheel))


def clean_environ(**more: str) -> dict[str, str]:
    """The environment of somebody who never saw the checkout."""
    dropped = ("ENVELOPE_", "RAY_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    folders = [part for part in kept["PATH"].split(os.pathsep) if str(CHECKOUT) not in part]
    return kept | {"PATH": os.pathsep.join(folders)} | more


def write_story(folder: Path) -> Path:
    """Write the table, and the state that deploys and scores the model. Return the state's path."""
    frame = pd.DataFrame({"x": [float(n) for n in range(ROWS)]})
    frame.to_parquet(folder / "rows.parquet")
    state = folder / "state.yaml"
    state.write_text(STATE.format(folder=folder))
    return state


def wait_for_answer(
    ask: Callable[[], dict[str, Any] | None], timeout_s: float = 180
) -> dict[str, Any]:
    """Ask until there is an answer."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := ask():
            return answer
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.5)


def ask_over_http(url: str) -> dict[str, Any] | None:
    """One row's answer; None where none comes yet."""
    try:
        answer = httpx.post(f"{url}/where/v0/query", json={"x": 1.0}, timeout=10)
    except httpx.HTTPError:
        return None
    found: dict[str, Any] = json.loads(answer.json()) if answer.status_code == 200 else {}
    return found or None


def assert_hermetic(seen: dict[str, Any], environments: Path) -> None:
    """The locked package, our code from the wheel, and nothing of the checkout on the path."""
    assert seen["lark"] == OTHER_LARK
    assert Path(seen["runtime"]).is_relative_to(environments)
    assert [path for path in seen["path"] if Path(path).is_relative_to(CHECKOUT)] == []
