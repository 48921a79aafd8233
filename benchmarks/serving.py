"""Requests per second and latencies of deployments, beside the peers, in the same run.

    python benchmarks/serving.py            # starts a platform and the peers, and ends them
    python benchmarks/serving.py --check    # status 1 when a promised ratio is not kept

Two functions: a linear model of one DataFrame (a row object in, a number out), and a numpy function
of one list. Beside ours: a replica written by hand behind the same HAProxy, the same model behind
FastAPI, and `mlflow models serve`. wrk sends; it shares the cores with what it measures.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import machine, peer_python, version_in

CLIENTS = (1, 16, 64)
COLUMNS = 8
START_S = 120.0

DATA = f"""
import numpy as np, pandas as pd
from sklearn.linear_model import LinearRegression
random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(1000, {COLUMNS})), columns=list("abcdefgh"))
model = LinearRegression().fit(X, X.sum(axis=1))
"""
MLFLOW = DATA + "import sys, mlflow; mlflow.sklearn.save_model(model, sys.argv[1], input_example=X)"
FASTAPI = (
    DATA
    + """
from fastapi import FastAPI
from pydantic import BaseModel
class Row(BaseModel):
    a: float; b: float; c: float; d: float; e: float; f: float; g: float; h: float
class Values(BaseModel):
    values: list[float]
app = FastAPI()
weights = np.arange(8.0)
@app.get("/")
async def ready(): return "yes"
@app.post("/frame")
async def frame(row: Row) -> float:
    return float(model.predict(pd.DataFrame([row.model_dump()]))[0])
@app.post("/numpy")
async def numpy(body: Values) -> float:
    return float(np.asarray(body.values) @ weights)
"""
)

ROW = dict(zip("abcdefgh", (0.25 * n for n in range(COLUMNS)), strict=True))
VALUES = {"values": [0.25 * n for n in range(COLUMNS)]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that answers. kind: which of the two functions."""

    name: str
    kind: str
    url: str
    body: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What wrk saw: requests per second, and latencies in ms."""

    rps: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    parser.add_argument("--only", help="only targets whose name holds this")
    parser.add_argument("--check", action="store_true", help="fail when a promise is not kept")
    options = parser.parse_args()
    with ExitStack() as stack:
        targets = [*stack.enter_context(ours()), *stack.enter_context(mlflow())]
        targets += stack.enter_context(fastapi())
        chosen = [t for t in targets if options.only is None or options.only in t.name]
        print(machine())
        figures = measure(chosen, seconds=options.seconds, rounds=options.rounds)
    show(chosen, figures)
    kept = [promise(figures, *one) for one in PROMISES]
    if options.check and not all(kept):
        sys.exit(1)


# What is promised: ours, the peer, clients, the least ratio of requests per second.
PROMISES = (
    ("envelope frame", "mlflow models serve", 16, 6.0),
    ("envelope frame", "mlflow models serve", 64, 14.0),
    ("envelope numpy", "hand-written replica numpy", 16, 0.8),
    ("envelope numpy", "fastapi numpy", 16, 1.0),
    ("envelope frame", "fastapi frame", 16, 1.0),
    ("envelope frame", "envelope frame, batching none", 1, 0.95),
)


def promise(
    figures: dict[tuple[str, int], Figure], name: str, peer: str, clients: int, least: float
) -> bool:
    """Print one ratio; return whether it is what it should be. What was not measured is kept."""
    if (name, clients) not in figures or (peer, clients) not in figures:
        return True
    ratio = figures[name, clients].rps / figures[peer, clients].rps
    verdict = "" if ratio >= least else f"   BELOW {least:g}"
    print(f"{name} / {peer}, {clients} clients: {ratio:.2f}{verdict}")
    return ratio >= least


def measure(targets: list[Target], *, seconds: int, rounds: int) -> dict[tuple[str, int], Figure]:
    """Measure all targets in turn, several times over, so that a busy moment hits them all."""
    seen: dict[tuple[str, int], list[Figure]] = {}
    for target in targets:
        wrk(target, clients=16, seconds=1)  # warm
    for _ in range(rounds):
        for clients in CLIENTS:
            for target in targets:
                figure = wrk(target, clients=clients, seconds=seconds)
                seen.setdefault((target.name, clients), []).append(figure)
    return {key: median(figures) for key, figures in seen.items()}


def median(figures: list[Figure]) -> Figure:
    """Return the figure whose rate is the median."""
    middle = statistics.median_low([figure.rps for figure in figures])
    return next(figure for figure in figures if figure.rps == middle)


def wrk(target: Target, *, clients: int, seconds: int) -> Figure:
    """Let wrk ask for a while. Fails when an answer is not 200."""
    script = (
        'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = {json.dumps(json.dumps(target.body))}\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "20s", "--latency"]
        done = subprocess.run(
            [*command, "-s", file.name, target.url], capture_output=True, text=True, check=True
        )
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        sys.exit(f"{target.name}: not every request was answered\n{done.stdout}")
    return Figure(
        rps=float(_found(r"Requests/sec:\s+([\d.]+)", done.stdout)),
        p50_ms=_ms(_found(r"^ +50% +(\S+) *$", done.stdout)),
        p99_ms=_ms(_found(r"^ +99% +(\S+) *$", done.stdout)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.M)
    if match is None:
        sys.exit(f"wrk said something else:\n{text}")
    return match[1]


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}[unit]


def show(targets: list[Target], figures: dict[tuple[str, int], Figure]) -> None:
    """Print the table, as Markdown."""
    heads = " | ".join(f"{n} client{'s' * (n > 1)}: req/s, p50, p99 ms" for n in CLIENTS)
    print(f"| | {heads} |\n|---{'|---' * len(CLIENTS)}|")
    for target in targets:
        cells = [figures[target.name, clients] for clients in CLIENTS]
        shown = " | ".join(f"{f.rps:,.0f}, {f.p50_ms:.2f}, {f.p99_ms:.1f}" for f in cells)
        print(f"| {target.name} | {shown} |")


# --- what is measured


@contextmanager
def ours() -> Iterator[list[Target]]:
    """Deploy both functions on a platform of its own, and the hand-written replica beside them."""
    with tempfile.TemporaryDirectory(prefix="serving-") as home:
        from envelope.settings import Settings
        from ray_runtime import cluster
        from ray_runtime.ports import free_ports

        # Beside a platform that runs already: its own home, its own ports.
        os.environ["ENVELOPE_HOME"] = home
        names = ("SERVE", "API", "JOB", "RAY", "HAPROXY_STATS", "HAPROXY_METRICS")
        for name, port in zip(names, free_ports(len(names)), strict=True):
            os.environ[f"ENVELOPE_{name}_PORT"] = str(port)
        settings = Settings.read()
        cluster.start(settings, report=print)
        try:
            cluster.connect(settings)
            url = f"http://127.0.0.1:{settings.serve_port}"
            deploy_ours(settings, url)
            deploy_by_hand()
            targets = [
                Target(name="envelope frame", kind="frame", url=f"{url}/frame/v0/query", body=ROW),
                Target(
                    name="envelope frame, batching none",
                    kind="frame",
                    url=f"{url}/frame_alone/v0/query",
                    body=ROW,
                ),
                Target(
                    name="envelope numpy", kind="numpy", url=f"{url}/numpy/v0/query", body=VALUES
                ),
                Target(
                    name="hand-written replica frame",
                    kind="frame",
                    url=f"{url}/hand/frame",
                    body=ROW,
                ),
                Target(
                    name="hand-written replica numpy",
                    kind="numpy",
                    url=f"{url}/hand/numpy",
                    body=VALUES,
                ),
            ]
            for target in targets:
                wait_for(target)
            yield targets
        finally:
            import ray

            ray.shutdown()
            cluster.stop(settings)


def deploy_ours(settings: Any, url: str) -> None:
    """Save both functions and apply them to Serve."""
    import envelope as me
    from envelope.config import DeploymentConfig
    from envelope.connection import connect
    from ray_runtime import apps
    from ray_runtime.environments import runtime_env_for

    made: dict[str, Any] = {}
    exec(DATA, made)
    np = made["np"]
    weights = np.arange(float(COLUMNS))

    def score(values: list[float]) -> float:
        return float(np.asarray(values) @ weights)

    frame = me.save_model(
        name="frame", model=made["model"], query_function="predict", api_input=made["X"]
    )
    numpy = me.save_model(name="numpy", query_function=score, api_input=VALUES)
    here = connect(settings)
    wanted = [("frame", frame.id, {}), ("numpy", numpy.id, {})]
    wanted.append(("frame_alone", frame.id, {"batching": "none"}))
    apps.deploy(
        [
            apps.AppSpec(
                deployment=name,
                envelope_id=envelope_id,
                manifest_sha256=here.registry.envelope(envelope_id).manifest_sha256,
                function_hashes=here.registry.envelope(envelope_id).functions,
                release_id=None,
                config=DeploymentConfig(**config),
                runtime_env=runtime_env_for(here.store, here.store.get_manifest(envelope_id)),
                store_url=here.store.url,
                serve_url=url,
            )
            for name, envelope_id, config in wanted
        ]
    )


def deploy_by_hand() -> None:
    """Run what someone would write who knows Serve well, for both functions."""
    from ray import serve

    made: dict[str, Any] = {}
    exec(DATA, made)

    class ByHand:
        def __init__(self, model: Any) -> None:
            import msgspec
            import numpy as np
            import pandas as pd

            self.model, self.frame, self.np = model, pd.DataFrame, np
            self.weights = np.arange(float(COLUMNS))
            self.read_row = msgspec.json.Decoder(dict[str, float]).decode
            self.read_values = msgspec.json.Decoder(dict[str, list[float]]).decode
            self.write = msgspec.json.Encoder().encode

        async def __call__(self, request: Any) -> Any:
            from starlette.responses import Response

            body = await request.body()
            if request.url.path == "/hand/frame":
                output = float(self.model.predict(self.frame([self.read_row(body)]))[0])
            else:
                values = self.read_values(body)["values"]
                output = float(self.np.asarray(values) @ self.weights)
            return Response(self.write(output), media_type="application/json")

    deployment = serve.deployment(
        ByHand, ray_actor_options={"num_cpus": 0.25}, max_ongoing_requests=1000
    )
    serve.run(deployment.bind(made["model"]), name="hand", route_prefix="/hand")


@contextmanager
def mlflow() -> Iterator[list[Target]]:
    """`mlflow models serve`, with the same model."""
    python = peer_python("mlflow", "mlflow")
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model")
        subprocess.run([str(python), "-c", MLFLOW, model], check=True, capture_output=True)
        port = free_port()
        command = ["-m", "mlflow", "models", "serve", "-m", model, "-p", str(port)]
        with server([str(python), *command, "--env-manager", "local", "-h", "127.0.0.1"], python):
            target = Target(
                name="mlflow models serve",
                kind="frame",
                url=f"http://127.0.0.1:{port}/invocations",
                body={"dataframe_records": [ROW]},
            )
            wait_for(target)
            print(f"mlflow {version_in(python, 'mlflow')}")
            yield [target]


@contextmanager
def fastapi() -> Iterator[list[Target]]:
    """The same functions behind FastAPI and one uvicorn worker, written by hand."""
    python = peer_python("fastapi", "fastapi", "uvicorn[standard]", "pandas")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "by_hand.py").write_text(FASTAPI)
        port = free_port()
        command = [str(python), "-m", "uvicorn", "by_hand:app", "--app-dir", folder]
        options = ["--port", str(port), "--no-access-log", "--log-level", "warning"]
        with server([*command, *options], python):
            url = f"http://127.0.0.1:{port}"
            targets = [
                Target(name="fastapi frame", kind="frame", url=f"{url}/frame", body=ROW),
                Target(name="fastapi numpy", kind="numpy", url=f"{url}/numpy", body=VALUES),
            ]
            for target in targets:
                wait_for(target)
            print(f"fastapi {version_in(python, 'fastapi')}")
            yield targets


@contextmanager
def server(command: list[str], python: Path) -> Iterator[None]:
    """Run a peer's server, and end it and its workers."""
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        command,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def wait_for(target: Target) -> None:
    """Wait until a target answers, and print its first answer."""
    import httpx

    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            found = httpx.post(target.url, json=target.body, timeout=5)
            if found.status_code == 200:
                print(f"{target.name}: {found.text.strip()[:60]}", flush=True)
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    sys.exit(f"{target.name} does not answer at {target.url}")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
