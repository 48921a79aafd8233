"""Batch jobs on a real cluster: from here, by the job server, failing, killed, and beside HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import ray
import yaml

import envelope as me
from envelope.config import BatchInput, BatchJobConfig, BatchOutput
from envelope.connection import connect
from envelope.errors import EnvelopeError
from envelope.manifest import Package
from envelope.tables import current_batch, read_table
from ray_runtime.batch.run import BatchResult, run_job
from tests.cluster.conftest import Platform
from tests.cluster.deployments import Deployments, with_another_lock

ROWS = 320_000  # 22 MiB of what the model reads: more than one part for two workers
COLUMNS = [f"x{number}" for number in range(8)]
SAME: dict[str, Any] = {"rtol": 1e-9, "atol": 0}  # BLAS adds in another order for other blocks


def scorer(folder: Path) -> Any:
    """A linear model that can be watched and disturbed through files of `folder`.

    loads: a line per process that loaded it. hold: every call takes a second while it is there.
    fail: calls raise while it is there.
    """

    class Scorer:
        def __init__(self) -> None:
            self.folder = str(folder)

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__dict__.update(state)
            with open(f"{self.folder}/loads", "a") as file:
                file.write(f"{os.getpid()}\n")

        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            if os.path.exists(f"{self.folder}/hold"):
                time.sleep(1)
            if os.path.exists(f"{self.folder}/fail"):
                raise ValueError("told to fail")
            return frame.to_numpy() @ np.arange(1.0, len(frame.columns) + 1)

        def scores(self, frame):  # type: ignore[no-untyped-def]
            return pd.DataFrame({"low": frame["x0"] - 1, "high": frame["x0"] + 1})

        def total(self, frame) -> float:  # type: ignore[no-untyped-def]
            return float(frame["x0"].sum())

    Scorer.__module__ = "__main__"  # as if in a notebook: it travels by value
    return Scorer()


class World:
    """A platform with a saved model and a table for it."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.platform = platform
        self.folder = folder
        random = np.random.default_rng(0)
        self.frame = pd.DataFrame(random.normal(size=(ROWS, 8)), columns=COLUMNS)
        self.frame.insert(0, "client_id", [f"{n:06}" for n in range(ROWS)])
        self.frame["region"] = random.choice(["US", "DE", "FR"], ROWS)
        self.table = folder / "clients"
        self.table.mkdir()
        for number in range(8):
            part = self.frame.iloc[number * ROWS // 8 : (number + 1) * ROWS // 8]
            part.to_parquet(self.table / f"{number}.parquet")
        example = self.frame[COLUMNS].head(20)
        self.envelope = me.save_model(
            name="scorer",
            model=scorer(folder),
            query_function="predict",
            api_input=example,
            tags={"kind": "scorer"},
        )
        for function in ("scores", "total"):
            self.envelope.add_query_function(function, api_input=example)

        (folder / "loads").unlink()  # adding functions loaded it here

    @property
    def expected(self) -> np.ndarray[Any, Any]:
        return self.frame[COLUMNS].to_numpy() @ np.arange(1.0, 9.0)

    def config(self, out: Path | str, **changes: Any) -> BatchJobConfig:
        keep = changes.pop("keep", ("client_id",))
        values: dict[str, Any] = {
            "query": "tags.kind = 'scorer'",
            "input": BatchInput(path=str(changes.pop("table", self.table))),
            "output": BatchOutput(path=str(out), keep_columns=keep),
        }
        return BatchJobConfig(**{**values, **changes})

    def run(self, out: Path, **changes: Any) -> BatchResult:
        return run_job("nightly", self.config(out, **changes), connect(self.platform.settings))

    def write_yaml(self, out: Path, **changes: Any) -> Path:
        path = self.folder / "jobs.yaml"
        job = self.config(out, **changes).model_dump(mode="json", exclude_defaults=True)
        path.write_text(yaml.safe_dump({"batch_jobs": {"nightly": job}}))
        return path


@pytest.fixture(scope="module")
def world(ray_only: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_only.settings.environ().items():
            patch.setenv(name, value)
        ray_only.connect()
        yield World(ray_only, tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def at_home(world: World, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The platform's home in place of the test's own; afterwards nothing disturbs the model."""
    for name, value in world.platform.settings.environ().items():
        monkeypatch.setenv(name, value)
    yield
    for name in ("hold", "fail"):
        (world.folder / name).unlink(missing_ok=True)


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def batches(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if path.is_dir())


# -- what comes out ------------------------------------------------------------------------------


def test_a_table_is_scored_in_order_and_published(world: World, tmp_path: Path) -> None:
    result = world.run(tmp_path / "out")
    found = read_table(result.path)
    assert found["client_id"].tolist() == world.frame["client_id"].tolist()
    np.testing.assert_allclose(found["output"], world.expected, **SAME)
    assert (result.rows, result.files, result.is_published) == (ROWS, 4, True)
    assert result.envelope_id == world.envelope.id
    assert result.batch_id == current_batch(result.path)


def test_files_say_what_made_them(world: World, tmp_path: Path) -> None:
    result = world.run(tmp_path / "out")
    folder = Path(result.path) / result.batch_id
    for part in folder.glob("part-*.parquet"):
        metadata = pq.read_schema(part).metadata
        assert metadata[b"envelope.id"].decode() == world.envelope.id
        assert metadata[b"envelope.function"] == b"predict"
        assert metadata[b"envelope.job"] == b"nightly"
        assert len(metadata[b"envelope.lock_sha256"]) == 64
        assert len(metadata[b"envelope.environment"]) == 32
    record = json.loads((folder / "batch.json").read_text())
    assert [part["n_rows"] for part in record["parts"]] == [ROWS // 4] * 4
    assert record["input"]["files"] == 8


def test_reading_scoring_and_writing_are_one_task(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    write = ray.data.Dataset.write_datasink

    def watched(dataset: Any, *args: Any, **options: Any) -> None:
        write(dataset, *args, **options)
        seen.append(dataset._write_ds.stats())

    monkeypatch.setattr(ray.data.Dataset, "write_datasink", watched)
    world.run(tmp_path / "out")
    assert "ReadTable->MapBatches(score)->Write: 4 tasks executed" in seen[0]


def test_the_envelope_is_loaded_once_per_worker(world: World, tmp_path: Path) -> None:
    world.run(tmp_path / "out")
    loads = (world.folder / "loads").read_text().split()
    assert loads
    assert len(loads) == len(set(loads))


@pytest.mark.parametrize(
    "suffix, changes",
    [
        pytest.param("csv", {}, id="csv"),
        pytest.param("parquet", {}, id="one-row-group"),
        pytest.param("parquet", {"concurrency": 2}, id="by-two-workers"),
    ],
)
def test_one_large_file_is_spread_over_the_workers(
    world: World, tmp_path: Path, suffix: str, changes: dict[str, Any]
) -> None:
    path = tmp_path / f"clients.{suffix}"
    options: dict[str, Any] = {} if suffix == "csv" else {"row_group_size": ROWS}
    getattr(world.frame, f"to_{suffix}")(path, index=False, **options)
    result = world.run(tmp_path / "out", table=path, **changes)
    found = read_table(result.path)
    assert result.files > 1
    assert found["client_id"].tolist() == world.frame["client_id"].tolist()
    np.testing.assert_allclose(found["output"], world.expected, **SAME)


def test_how_far_it_is_can_be_followed(world: World, tmp_path: Path) -> None:
    (world.folder / "hold").touch()  # a second per part
    seen: list[tuple[int, int | None]] = []
    run_job(
        "nightly",
        world.config(tmp_path / "out"),
        connect(world.platform.settings),
        progress=lambda done, n_parts: seen.append((done, n_parts)),
    )
    assert seen[0] == (0, 4)
    assert seen[-1] == (4, 4)
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def where(frame):  # type: ignore[no-untyped-def] # its example says it
    import importlib.metadata

    import pandas as pd

    import ray_runtime

    seen = {"lark": importlib.metadata.version("lark"), "runtime": str(ray_runtime.__file__)}
    return pd.DataFrame([seen] * len(frame))


where.__module__ = "__main__"  # as if in a notebook: it travels by value


def test_the_function_runs_in_the_envelopes_own_environment(world: World, tmp_path: Path) -> None:
    few = world.frame[["x0"]].head(20)
    few.to_parquet(tmp_path / "few.parquet")
    saved = me.save_model(name="where", query_function=where, api_input=few)
    envelope_id = with_another_lock(saved.id, Package(name="lark", version="1.1.9"))
    jobs = world.write_yaml(
        tmp_path / "out",
        query=f"id = '{envelope_id}'",
        table=tmp_path / "few.parquet",
        keep=(),
    )
    done = world.platform.run("envelope", "batch", "submit", str(jobs))
    assert done.returncode == 0, done.stdout
    found = read_table(str(tmp_path / "out"))
    assert found["lark"].tolist() == ["1.1.9"] * 20
    (runtime,) = set(found["runtime"])
    assert world.platform.settings.environments_dir in Path(runtime).parents


def test_more_workers_than_parts_are_no_mistake(world: World, tmp_path: Path) -> None:
    result = world.run(tmp_path / "out", table=world.table / "0.parquet", concurrency=2)
    assert (result.rows, result.files) == (ROWS // 8, 1)


def test_another_function_of_the_envelope(world: World, tmp_path: Path) -> None:
    result = world.run(tmp_path / "out", function="scores", keep="all")
    found = read_table(result.path)
    assert list(found.columns) == [*world.frame.columns, "low", "high"]
    np.testing.assert_array_equal(found["high"].to_numpy(), found["x0"].to_numpy() + 1)


def test_one_call_per_group(world: World, tmp_path: Path) -> None:
    result = world.run(tmp_path / "out", function="total", group_by=("region",), keep=())
    found = read_table(result.path).set_index("region")["output"]
    expected = world.frame.groupby("region")["x0"].sum()
    assert found.sort_index().to_dict() == pytest.approx(expected.to_dict())


def test_one_call_for_the_whole_table(world: World, tmp_path: Path) -> None:
    result = world.run(tmp_path / "out", function="total", whole_table=True, keep=())
    (total,) = read_table(result.path)["output"]
    assert total == pytest.approx(world.frame["x0"].sum())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_input_without_rows_is_an_output_without_rows(
    world: World, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"empty.{suffix}"
    getattr(world.frame.head(0), f"to_{suffix}")(path, index=False)
    result = world.run(tmp_path / "out", table=path)
    found = read_table(result.path)
    assert (result.rows, list(found.columns)) == (0, ["client_id", "output"])
    assert found["output"].dtype == np.float64


def test_batch_http_and_query_give_the_same_answers(world: World, tmp_path: Path) -> None:
    deployments = Deployments(world.platform, connect(world.platform.settings))
    deployments.run("scorer", world.envelope.id)
    few = world.frame.head(50)
    few.to_parquet(tmp_path / "few.parquet")
    batch = read_table(world.run(tmp_path / "out", table=tmp_path / "few.parquet").path)
    rows = few[COLUMNS].to_dict(orient="records")
    figure = world.envelope.functions["predict"].row_wise.max_difference
    tolerance: dict[str, Any] = {"rtol": max(figure, 1e-9), "atol": 0}
    http = deployments.query("scorer", rows).json()
    np.testing.assert_allclose(batch["output"], http, **tolerance)
    one_by_one = [deployments.query("scorer", row).json() for row in rows[:10]]
    np.testing.assert_allclose(batch["output"][:10], one_by_one, **tolerance)
    here = world.envelope.query(few[COLUMNS])
    np.testing.assert_allclose(batch["output"], here, **tolerance)


# -- when it goes wrong --------------------------------------------------------------------------


def test_a_job_that_fails_leaves_the_old_output(world: World, tmp_path: Path) -> None:
    first = world.run(tmp_path / "out")
    (world.folder / "fail").touch()
    with pytest.raises(EnvelopeError) as caught:
        world.run(tmp_path / "out")
    assert str(caught.value).startswith(
        f"the function 'predict' of envelope {world.envelope.id} raised ValueError: told to fail\n"
        "for "
    )
    assert type(caught.value) is EnvelopeError
    assert current_batch(first.path) == first.batch_id
    assert batches(Path(first.path)) == [first.batch_id]


def test_a_driver_that_is_killed_leaves_the_old_output(world: World, tmp_path: Path) -> None:
    first = world.run(tmp_path / "out")
    (world.folder / "hold").touch()
    jobs = world.write_yaml(tmp_path / "out")
    driver = subprocess.Popen(
        [sys.executable, "-m", "ray_runtime.batch", str(jobs)],
        env=world.platform.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: len(batches(tmp_path / "out")) == 2)
        driver.send_signal(signal.SIGKILL)
    finally:
        driver.kill()
        driver.wait()
    assert current_batch(first.path) == first.batch_id
    assert len(read_table(first.path)) == ROWS
    (world.folder / "hold").unlink()
    second = world.run(tmp_path / "out")
    assert current_batch(first.path) == second.batch_id
    assert len(read_table(first.path, first.batch_id)) == ROWS


def test_a_driver_that_is_told_to_stop_takes_its_parts_away(world: World, tmp_path: Path) -> None:
    (world.folder / "hold").touch()
    jobs = world.write_yaml(tmp_path / "out")
    driver = subprocess.Popen(
        [sys.executable, "-m", "ray_runtime.batch", str(jobs)],
        env=world.platform.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (tmp_path / "out").exists() and bool(batches(tmp_path / "out")))
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(60) != 0
    finally:
        driver.kill()
        driver.wait()
    wait_for(lambda: batches(tmp_path / "out") == [])


# -- the commands --------------------------------------------------------------------------------


def test_run_from_the_command_line(world: World, tmp_path: Path) -> None:
    jobs = world.write_yaml(tmp_path / "out")
    done = world.platform.run("envelope", "batch", "run", str(jobs), "nightly")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"nightly: 320,000 rows of {world.table} (8 files) through predict")
    assert lines[1].startswith("nightly: 320,000 rows in ")
    assert lines[2].startswith(f"output: {tmp_path}/out (batch ")
    assert len(lines) == 3  # nothing of Ray's own, and no progress bar, in a log
    assert len(read_table(str(tmp_path / "out"))) == ROWS


def test_the_result_for_programs(world: World, tmp_path: Path) -> None:
    jobs = world.write_yaml(tmp_path / "out")
    command = f"envelope batch run {jobs} --json 2>/dev/null"
    done = world.platform.run("bash", "-c", command)
    result = json.loads(done.stdout)
    assert (result["rows"], result["files"], result["is_published"]) == (ROWS, 4, True)
    assert result["envelope_id"] == world.envelope.id
    assert result["rows_per_s"] == pytest.approx(ROWS / result["seconds"])


def test_a_job_of_the_job_server_by_its_id_alone(world: World, tmp_path: Path) -> None:
    jobs = world.write_yaml(tmp_path / "out")
    done = world.platform.run("envelope", "batch", "submit", str(jobs), "--no-wait")
    assert done.returncode == 0, done.stdout
    job_id = done.stdout.split()[-1]
    assert job_id.startswith("raysubmit_")
    wait_for(lambda: current_batch(str(tmp_path / "out")) is not None)


def test_a_missing_column_is_said_before_anything_is_written(world: World, tmp_path: Path) -> None:
    world.frame.drop(columns="x3").to_parquet(tmp_path / "short.parquet")
    jobs = world.write_yaml(tmp_path / "out", table=tmp_path / "short.parquet")
    done = world.platform.run("envelope", "batch", "run", str(jobs))
    assert done.returncode == 1
    assert done.stdout.startswith("error: batch job nightly, function 'predict' of envelope")
    assert "lacks these columns:\n  'x3', for the function" in done.stdout
    assert not (tmp_path / "out").exists()


def test_foreign_content_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sales.csv").write_text("a\n1\n")
    jobs = world.write_yaml(tmp_path / "out")
    done = world.platform.run("envelope", "batch", "run", str(jobs))
    assert done.returncode == 1
    assert "holds files that no batch job wrote (sales.csv)" in done.stdout


def test_submitted_and_followed(world: World, tmp_path: Path) -> None:
    jobs = world.write_yaml(tmp_path / "out")
    done = world.platform.run("envelope", "batch", "submit", str(jobs))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0].startswith("submitted as raysubmit_")
    assert any(line.startswith("nightly: 320,000 rows in ") for line in lines)
    assert len(read_table(str(tmp_path / "out"))) == ROWS


def test_a_submitted_job_that_fails_is_a_failure_here(world: World, tmp_path: Path) -> None:
    (world.folder / "fail").touch()
    jobs = world.write_yaml(tmp_path / "out")
    done = world.platform.run("envelope", "batch", "submit", str(jobs))
    assert done.returncode == 1
    assert done.stdout.count("raised ValueError: told to fail") == 1
    assert done.stdout.splitlines()[-1].endswith(" failed")


def test_rays_own_command_submits_it_too(world: World, tmp_path: Path) -> None:
    jobs = world.write_yaml(tmp_path / "out")
    folder = tmp_path / "working"
    folder.mkdir()
    jobs.rename(folder / "jobs.yaml")
    script = (
        'eval "$(envelope env)"; '
        f"ray job submit --working-dir {folder} -- python -m ray_runtime.batch jobs.yaml nightly"
    )
    done = world.platform.run("bash", "-c", script)
    assert done.returncode == 0, done.stdout
    assert "nightly: 320,000 rows in " in done.stdout
    assert len(read_table(str(tmp_path / "out"))) == ROWS
