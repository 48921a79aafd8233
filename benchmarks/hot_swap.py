"""Swap the model of one replica under 400 requests per second, and count what fails.

Three swaps in a row under one load: another model, another model in another environment (a
different scikit-learn, built on the node), and a model that fails at start (the old one must go on
answering). `python benchmarks/hot_swap.py` starts a platform of its own, and stops it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from load import Load
from peers import machine

import envelope as me
from envelope.connection import connect
from envelope.settings import Settings

BIN = Path(sys.executable).parent
NAME = "swapped"
STATE = f"""
deployments: {{{NAME}: {{}}}}
rules: {{newest: {{query: "tags.ready = 'true'", deploy_to: {NAME}}}}}
"""

TRAIN = """
import sys
import numpy as np, pandas as pd
from sklearn.linear_model import LinearRegression
import envelope as me
random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(500, 8)), columns=list("abcdefgh"))
model = LinearRegression().fit(X, X.sum(axis=1) * float(sys.argv[1]))

if sys.argv[2] == "fails":
    class Breaks(LinearRegression):
        def __setstate__(self, state):
            raise RuntimeError("the weights file is gone")
    broken = Breaks()
    broken.__dict__.update(model.__dict__)
    model = broken
print(me.save_model(name=NAME, model=model, query_function="predict", api_input=X).id)
""".replace("NAME", repr(NAME))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=400)
    parser.add_argument("--other-sklearn", default="1.8.0", help="what the other environment has")
    options = parser.parse_args()
    print(machine(), f"one replica, {options.rate} requests/s")
    with tempfile.TemporaryDirectory(prefix="swap-") as home:
        os.environ["ENVELOPE_HOME"] = home
        try:
            run_swaps(Settings.read(), options)
        finally:
            envelope("down")


def run_swaps(settings: Settings, options: argparse.Namespace) -> None:
    envelope("up")
    state = settings.home / "state.yaml"
    state.write_text(STATE)
    envelope("apply", "-f", str(state))
    other = other_python(settings.home / "other", options.other_sklearn)
    first = save(sys.executable, "1", "works")
    swaps = [
        ("another model", save(sys.executable, "2", "works"), True),
        (f"another environment (scikit-learn {options.other_sklearn})", save(other, "3", ""), True),
        ("a model that fails at start", save(sys.executable, "4", "fails"), False),
    ]
    deploy(first, works=True)

    body = json.dumps(dict.fromkeys("abcdefgh", 0.5)).encode()
    url = f"http://127.0.0.1:{settings.serve_port}/{NAME}/v0/query"
    with Load(url, body, rate=options.rate) as load:
        time.sleep(3)
        for what, envelope_id, works in swaps:
            seconds = deploy(envelope_id, works=works)
            print(f"{what}: {'live' if works else 'failed, as it must,'} after {seconds:.1f} s")
            time.sleep(3)
    report = load.report
    print(report)
    print(f"answered by: {report.answered}; the sender was at most {report.late_ms:.0f} ms late")
    wanted = {first, swaps[0][1], swaps[1][1]}
    if report.failed or set(report.answered) != wanted:
        sys.exit("FAILED: requests were lost, or another envelope answered")


def deploy(envelope_id: str, *, works: bool) -> float:
    """Tag an envelope and wait for the end of its release; return the seconds that it took."""
    began = time.monotonic()
    me.get(envelope_id).set_tags(ready="true")
    # A command that asks each time would take a core from what is measured.
    registry = connect().registry
    while True:
        releases = [row for row in registry.releases(NAME) if row.envelope_id == envelope_id]
        state = releases[0].state if releases else "none"
        if state in ("live", "failed"):
            if (state == "live") != works:
                sys.exit(f"{envelope_id} is {state}: {releases[0].reason}")
            return time.monotonic() - began
        time.sleep(0.1)


def save(python: str, slope: str, kind: str) -> str:
    done = subprocess.run([python, "-c", TRAIN, slope, kind], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return done.stdout.split()[-1]


def other_python(folder: Path, sklearn: str) -> str:
    """Return the Python of an environment with our SDK and another scikit-learn."""
    uv, root = str(BIN / "uv"), Path(__file__).resolve().parent.parent
    python = str(folder / "bin" / "python")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, str(root), f"scikit-learn=={sklearn}"],
        check=True,
    )
    return python


def envelope(*arguments: str) -> str:
    done = subprocess.run([str(BIN / "envelope"), *arguments], capture_output=True, text=True)
    if done.returncode and arguments[0] != "down":
        sys.exit(f"envelope {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
