"""save_model of an sklearn model, dependencies inferred, beside MLflow doing the same.

`python benchmarks/capture.py`: prints both medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peers import machine, peer_python, version_in

ROWS, COLUMNS = 10_000, 20
PROMISED_S = 0.1

DATA = f"""
import numpy as np, pandas as pd
from sklearn.linear_model import LogisticRegression
random = np.random.default_rng(0)
names = [f"x{{i}}" for i in range({COLUMNS})]
X = pd.DataFrame(random.normal(size=({ROWS}, {COLUMNS})), columns=names)
y = (X["x0"] + X["x1"] > 0).astype(int)
model = LogisticRegression().fit(X, y)
"""

MLFLOW = (
    DATA
    + """
import json, logging, sys, tempfile, time
import mlflow
logging.getLogger("mlflow").setLevel(logging.ERROR)
times = []
for i in range(int(sys.argv[1])):
    folder = tempfile.mkdtemp()
    start = time.perf_counter()
    mlflow.sklearn.save_model(model, folder + "/m", input_example=X)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""
)

OURS = (
    DATA
    + """
import json, sys, time
import envelope as me
times = []
for i in range(int(sys.argv[1])):
    start = time.perf_counter()
    me.save_model(name="bench", model=model, query_function="predict", api_input=X)
    times.append(time.perf_counter() - start)
print(json.dumps(times))
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--peer-runs", type=int, default=3)
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    print(machine())
    print(f"LogisticRegression, api_input of {ROWS} rows x {COLUMNS} columns")

    ours = times_of(Path(sys.executable), OURS, options.runs)
    median = report("save_model", ours)
    kept = "kept" if median <= PROMISED_S else "NOT KEPT"
    print(f"promised: a median of at most {PROMISED_S} s: {kept}")
    if not options.without_peer:
        python = peer_python("mlflow", "mlflow>=3")
        name = f"mlflow {version_in(python, 'mlflow')} sklearn.save_model"
        peer = report(name, times_of(python, MLFLOW, options.peer_runs))
        print(f"ratio: {peer / median:.0f}x faster")


def times_of(python: Path, code: str, runs: int) -> list[float]:
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "ENVELOPE_HOME": home,
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        }
        done = subprocess.run(
            [str(python), "-W", "ignore", "-c", code, str(runs)],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(done.stderr)
    times: list[float] = json.loads(done.stdout.splitlines()[-1])
    return times


def report(name: str, times: list[float]) -> float:
    """Print the first call and the median of the others; return the median, in seconds."""
    first, others = times[0], times[1:] or times
    median = statistics.median(others)
    print(
        f"{name}: median {median:.3f} s of {len(others)}, slowest {max(others):.3f} s, "
        f"first in its process {first:.3f} s"
    )
    return median


if __name__ == "__main__":
    main()
