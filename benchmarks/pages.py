"""The pages at scale: 100,000 envelopes, a million metric points, and the server's own time.

`python benchmarks/pages.py` fills an SQLite registry, starts the controller's server over it, asks
for each page over HTTP, and prints the median and the worst `server-timing` of each. `--check`
ends with 1 when a worst time is over LIMIT_MS; `--envelopes 2000` is a quick run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parent.parent))  # before this folder: `controller`
import httpx
import numpy as np
import pandas as pd
from peers import machine
from sqlalchemy import Connection, text

import envelope as me
from controller.server import serving
from envelope.connection import connect
from envelope.store import function_path
from ray_runtime.ports import free_ports

LIMIT_MS = 300.0
SERIES = 1000  # models of one canonical name, which a time series draws
METRICS = {  # of envelope n at its k-th point
    "auc": "0.7 + (n % 997) / 5000.0 + k / 100.0",
    "loss": "1.0 / (1 + n % 31 + k)",
    "rmse": "10.0 + (n % 101) - k",
    "mae": "5.0 + (n % 53) - k",
    "logloss": "0.1 + (n % 17) / 20.0",
}
CAPTURED = 200  # models of one canonical name whose statistics are there
CURVES = 50  # every so many envelopes have a curve of 1,000 points
POINTS = 2  # of each metric of each envelope
NUMBERS = (
    "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
)
FIELDS = (
    "name, description, created_by, manifest_sha256, default_function, python_version, "
    "environment_sha256"
)
FACTS = "path, kind, text, long_text, number, version_key"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envelopes", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with registry() as saved:
        began = time.perf_counter()
        with connect().registry.database.writing() as connection:
            insert_envelopes(connection, saved.id, options.envelopes)
            points = connection.scalar(text("SELECT count(*) FROM metric_points"))
        copy_functions(saved, options.envelopes)
        print(machine())
        print(
            f"{options.envelopes:,} envelopes, {points:,} metric points, "
            f"filled in {time.perf_counter() - began:.0f} s"
        )
        slow = measure(pages(saved.id), options.rounds)
    return 1 if slow and options.check else 0


@contextmanager
def registry() -> Iterator[me.Envelope]:
    """A registry of its own with one real envelope, of which the others are copies."""
    with tempfile.TemporaryDirectory(prefix="pages-") as folder:
        os.environ["ENVELOPE_HOME"] = folder
        chance = np.random.default_rng(0)
        frame = pd.DataFrame({f"x{n}": chance.normal(size=1000) for n in range(20)})
        frame["region"] = chance.choice(["US", "UK", "DE"], size=len(frame))
        yield me.save_model(
            name="client_ltv",
            description="Predicts client LTV",
            query_function=predict,
            api_input=frame,
            tags={"canonical_name": "original"},
            hyperparameters={"C": 0.1, "depth": 5},
        )


def predict(frame: pd.DataFrame) -> pd.Series:
    """Predict the lifetime value of clients."""
    return frame["x0"] * 2 + frame["x1"]


def insert_envelopes(connection: Connection, like: str, count: int) -> None:
    """Insert copies of one envelope, a minute apart, each with its tags, metrics and facts."""

    def run(statement: str) -> None:
        connection.execute(text(statement))

    numbers, envelope_id = NUMBERS.format(last=count - 1), "printf('00%024d', n)"
    run(
        f"INSERT INTO envelopes (id, created_at, {FIELDS}) {numbers} "
        f"SELECT {envelope_id}, created_at - ({count} - n) * 60000000, 'model_' || (n / {SERIES}), "
        f"{FIELDS.removeprefix('name, ')} FROM numbers, envelopes WHERE id = '{like}'"
    )
    run(
        "INSERT INTO functions (envelope_id, name, sha256, added_at, added_by) "
        "SELECT envelopes.id, functions.name, sha256, added_at, added_by FROM functions, envelopes "
        f"WHERE envelope_id = '{like}' AND envelopes.id <> '{like}'"
    )
    run(
        f"INSERT INTO facts (subject, {FACTS}) SELECT envelopes.id, {FACTS} FROM facts, envelopes "
        f"WHERE (path = 'default_function' OR path LIKE 'hyperparameters%') "
        f"AND subject = '{like}' AND envelopes.id <> '{like}'"
    )
    for key, value in {
        "canonical_name": f"'model_' || (n / {SERIES})",
        "region": "'r' || (n % 5)",
        "team": "'team_' || (n % 20)",
        "run": "'run_' || n",
    }.items():
        run(
            f"INSERT INTO tags (envelope_id, key, value, registered_at) {numbers} SELECT id, "
            f"'{key}', {value}, created_at FROM numbers JOIN envelopes ON id = {envelope_id}"
        )
    for name, value in METRICS.items():
        for k in range(POINTS):
            run(
                "INSERT INTO metric_points (envelope_id, name, number, at, logged_at, actor) "
                f"{numbers} SELECT id, '{name}', {value.replace('k', str(k))}, "
                f"created_at + {k} * 1000000, created_at, 'ann' "
                f"FROM numbers JOIN envelopes ON id = {envelope_id}"
            )
    curve = json.dumps({"type": "curve", "x": [n / 999 for n in range(1000)], "y": [0.5] * 1000})
    run(
        "INSERT INTO metric_points (envelope_id, name, value, at, logged_at, actor) "
        f"{numbers} SELECT id, 'roc', '{curve}', created_at, created_at, 'ann' "
        f"FROM numbers JOIN envelopes ON id = {envelope_id} WHERE n % {CURVES} = 0"
    )
    run(
        "INSERT INTO metrics_latest (envelope_id, name, number, at) "
        "SELECT envelope_id, name, number, max(at) FROM metric_points GROUP BY envelope_id, name"
    )


def copy_functions(saved: me.Envelope, count: int) -> None:
    """Write the function of the newest envelopes of a page of statistics into the store."""
    store, (name,) = connect().store, saved.functions
    data = store.folder.read(function_path(saved.id, name))
    for n in range(min(2 * SERIES, count) - CAPTURED, min(2 * SERIES, count)):
        store.folder.write(function_path(f"00{n:024}", name), data)


def pages(envelope_id: str) -> dict[str, str]:
    """The address of each page that is measured."""

    def search(**asked: str) -> str:
        return "/models?" + urlencode(asked)

    def metrics(**asked: str) -> str:
        return "/metrics?" + urlencode(asked)

    def scatter(**asked: str) -> str:
        return "/metrics/scatter?" + urlencode(asked)

    def captured(**asked: str) -> str:
        return "/metrics/statistics?" + urlencode(asked)

    def compare(**asked: str) -> str:
        return "/metrics/compare?" + urlencode(asked)

    one = "tags.canonical_name = 'model_1'"
    return {
        "search: all": "/models",
        "search: by a tag": search(q="tags.region = 'r3'"),
        "search: by two tags and a metric": search(q=f"{one} and metrics.auc > 0.8"),
        "search: by words": search(q="LTV client"),
        "search: by words that nothing has": search(q="zzz"),
        "search: columns of metrics": search(columns="metrics.auc,metrics.loss,hyperparameters.C"),
        "model": f"/models/{envelope_id}",
        "model: metrics": "/models/" + "0" * 24 + "10/metrics",
        "time series: one metric of 1,000 models": metrics(q=one, names="auc", by="region"),
        "time series: five metrics of 1,000 models": metrics(q=one, by="region"),
        "time series: the newest 1,000 of all": metrics(names="auc", by="team"),
        "scatter: two metrics of 1,000 models": scatter(q=one, x="auc", y="loss", by="region"),
        "scatter: a hyperparameter of 1,000 models": scatter(q=one, x="hyperparameters.C", y="auc"),
        "scatter: the newest 1,000 of all": scatter(x="auc", y="loss", by="team"),
        "statistics: 22 columns of 200 models": captured(q=one),
        "statistics: one column of 200 models": captured(q=one, columns="input.x0", by="region"),
        "compare: a curve of the newest 10": compare(q=one, name="roc"),
        "compare: a metric that nothing has": compare(name="nothing"),
    }


def measure(pages: dict[str, str], rounds: int) -> list[str]:
    """Print each page's server time; return the names of those that are over the limit."""
    (port,) = free_ports(1)
    connection = connect()
    settings = replace(connection.settings, api_port=port)
    slow = []
    with (
        serving(replace(connection, settings=settings)),
        httpx.Client(base_url=f"http://localhost:{port}", timeout=120) as client,
    ):
        cold = server_ms(client.get("/models"))
        print(f"the process's first page, templates and parser included: {cold:.0f} ms")
        print(f"\n| page | median ms | worst ms of {rounds} | kB, compressed | |")
        print("|---|---|---|---|---|")
        for name, address in pages.items():
            times = []
            for _ in range(rounds):
                answer = client.get(address)
                answer.raise_for_status()
                times.append(server_ms(answer))
            size_kb = int(answer.headers["content-length"]) / 1000
            over = "**OVER**" if max(times) > LIMIT_MS else ""
            slow += [name] if over else []
            print(
                f"| {name} | {statistics.median(times):.0f} | {max(times):.0f} | {size_kb:.0f} "
                f"| {over} |",
                flush=True,
            )
    return slow


def server_ms(answer: httpx.Response) -> float:
    """What the server says that it took, until the answer began."""
    found = re.search(r"dur=([\d.]+)", answer.headers["server-timing"])
    assert found is not None
    return float(found[1])


if __name__ == "__main__":
    sys.exit(main())
