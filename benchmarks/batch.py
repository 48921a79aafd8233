"""A batch job over 2 M rows, beside a hand-written Ray Data pipeline and a plain pandas loop.

`python benchmarks/batch.py`: 2 M rows x 10 columns in 16 Parquet files through gradient boosting
(lightgbm, 100 trees; one thread per worker, so that the loop has one core). All of them run on one
cluster of this machine, in one process, in turn; the hand-written pipelines are what one would
write who knows Ray Data: Arrow batches, the columns that are needed, the model loaded once per
worker. Prints the median of each and the ratios.
"""

from __future__ import annotations

import argparse
import logging
import os
import pickle
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from peers import machine

COLUMNS = [f"x{number}" for number in range(10)]
FILES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--runs", type=int, default=3, help="timed runs, after one that is not")
    parser.add_argument("--keep", type=Path, help="a folder for the data, kept between runs")
    parser.add_argument("--only", help="contenders whose name holds this")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bench-batch-") as scratch:
        run(options.keep or Path(scratch), Path(scratch), options.rows, options.runs, options.only)


def run(data: Path, scratch: Path, rows: int, runs: int, only: str | None) -> None:
    source, model_file = data / f"in-{rows}", data / "model.pkl"
    if not model_file.exists() or not source.exists():
        make_data(source, model_file, rows)
    home = scratch / "home"
    os.environ["ENVELOPE_HOME"] = str(home)
    for name in ("ENVELOPE_REGISTRY", "ENVELOPE_STORE", "RAY_ADDRESS"):
        os.environ.pop(name, None)

    from envelope.settings import Settings
    from ray_runtime import cluster
    from ray_runtime.ports import free_ports

    names = ("SERVE", "API", "JOB", "RAY", "HAPROXY_STATS", "HAPROXY_METRICS")
    for name, port in zip(names, free_ports(len(names)), strict=True):
        os.environ[f"ENVELOPE_{name}_PORT"] = str(port)
    settings = Settings.read()
    cluster.start(settings)
    try:
        cluster.connect(settings)
        compare(source, model_file, scratch, settings, rows, runs, only or "")
    finally:
        cluster.stop(settings)


def compare(
    source: Path,
    model_file: Path,
    scratch: Path,
    settings: Any,
    rows: int,
    runs: int,
    only: str,
) -> None:
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    for handler in logging.getLogger("ray.data").handlers:
        handler.setLevel(logging.ERROR)
    contenders: dict[str, Callable[[Path], None]] = {
        "plain pandas loop": lambda out: pandas_loop(source, model_file, out),
        "map_batches, tasks": lambda out: by_tasks(source, model_file, out),
        "map_batches, 1 actor": lambda out: by_actors(source, model_file, out),
        "envelope batch run": ours(source, model_file, settings),
    }
    times: dict[str, list[float]] = {}
    for name, contender in contenders.items():
        if only not in name:
            continue
        for turn in range(runs + 1):
            out = scratch / "out" / f"{len(times)}-{turn}"
            start = time.perf_counter()
            contender(out)
            seconds = time.perf_counter() - start
            times.setdefault(name, []).append(seconds)
            shutil.rmtree(out, ignore_errors=True)
        first, *warm = times[name]
        print(
            f"{name:<28} first {first:6.2f} s   then median {statistics.median(warm):6.2f} s "
            f"(min {min(warm):.2f}, max {max(warm):.2f}), "
            f"{rows / statistics.median(warm):,.0f} rows/s",
            flush=True,
        )
    if "envelope batch run" not in times:
        return
    own = statistics.median(times.pop("envelope batch run")[1:])
    for name, found in times.items():
        print(f"ratio to {name}: {statistics.median(found[1:]) / own:.2f}x faster")


def make_data(source: Path, model_file: Path, rows: int) -> None:
    import lightgbm
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    source.mkdir(parents=True, exist_ok=True)
    for number in range(FILES):
        start, stop = number * rows // FILES, (number + 1) * rows // FILES
        values = random.normal(size=(stop - start, len(COLUMNS)))
        table = pa.table(
            {"client_id": np.arange(start, stop)}
            | {name: values[:, place] for place, name in enumerate(COLUMNS)}
        )
        pq.write_table(table, source / f"clients-{number:02}.parquet")
    known = pd.DataFrame(random.normal(size=(20_000, len(COLUMNS))), columns=COLUMNS)
    target = 2 * known["x0"] + known["x1"] * known["x2"] + random.normal(size=len(known))
    model = lightgbm.LGBMRegressor(n_estimators=100, n_jobs=1, verbose=-1).fit(known, target)
    model_file.write_bytes(pickle.dumps(model))


def pandas_loop(source: Path, model_file: Path, out: Path) -> None:
    import pandas as pd

    model = pickle.loads(model_file.read_bytes())
    out.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        frame = pd.read_parquet(path)
        answers = pd.DataFrame(
            {"client_id": frame["client_id"], "output": model.predict(frame[COLUMNS])}
        )
        answers.to_parquet(out / path.name)


def by_tasks(source: Path, model_file: Path, out: Path) -> None:
    import ray

    loaded: dict[str, Any] = {}

    def predict(table: Any) -> Any:
        import builtins

        # A task's closure is new for each; what lives as long as the worker has to lie elsewhere.
        kept = vars(builtins).setdefault("bench_models", loaded)
        if str(model_file) not in kept:
            kept[str(model_file)] = pickle.loads(model_file.read_bytes())
        model = kept[str(model_file)]
        frame = table.select(COLUMNS).to_pandas()
        return table.select(["client_id"]).append_column("output", [model.predict(frame)])

    (
        ray.data.read_parquet(str(source))
        .select_columns(["client_id", *COLUMNS])
        .map_batches(predict, batch_format="pyarrow", batch_size=65_536)
        .write_parquet(str(out))
    )


class Predict:
    def __init__(self, model_file: str) -> None:
        self.model = pickle.loads(Path(model_file).read_bytes())

    def __call__(self, table: Any) -> Any:
        frame = table.select(COLUMNS).to_pandas()
        return table.select(["client_id"]).append_column("output", [self.model.predict(frame)])


def by_actors(source: Path, model_file: Path, out: Path) -> None:
    import ray

    (
        ray.data.read_parquet(str(source))
        .select_columns(["client_id", *COLUMNS])
        .map_batches(
            Predict,
            fn_constructor_args=[str(model_file)],
            batch_format="pyarrow",
            batch_size=65_536,
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        .write_parquet(str(out))
    )


def ours(source: Path, model_file: Path, settings: Any) -> Callable[[Path], None]:
    import pandas as pd

    import envelope as me
    from envelope.config import BatchInput, BatchJobConfig, BatchOutput
    from envelope.connection import connect
    from ray_runtime.batch.run import run_job

    model = pickle.loads(model_file.read_bytes())
    example = pd.read_parquet(next(iter(source.iterdir())))[COLUMNS].head(100)
    me.save_model(
        name="bench", model=model, query_function="predict", api_input=example, tags={"b": "1"}
    )

    def contender(out: Path) -> None:
        config = BatchJobConfig(
            query="tags.b = '1'",
            input=BatchInput(path=str(source)),
            output=BatchOutput(path=str(out), keep_columns=("client_id",)),
        )
        run_job("bench", config, connect(settings))

    return contender


if __name__ == "__main__":
    main()
