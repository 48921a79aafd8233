"""From training to a URL and a scored table, with our wheel and no checkout in reach."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from envelope.capture.installed import installed
from envelope.settings import Settings
from envelope.tables import read_table
from ray_runtime import cluster
from tests.cluster.conftest import new_home
from tests.cluster.installed import (
    OTHER_LARK,
    ROWS,
    SAVE,
    ask_over_http,
    assert_hermetic,
    clean_environ,
    install,
    wait_for_answer,
    write_story,
)


@pytest.fixture
def settings(tmp_path: Path):  # type: ignore[no-untyped-def] # yields Settings
    settings, _ = new_home(tmp_path / "home")
    yield settings
    cluster.stop(settings)


def test_a_replica_and_a_batch_job_run_from_the_wheel_alone(
    settings: Settings, tmp_path: Path
) -> None:
    of_cluster = install(tmp_path / "installed", lark=installed().versions["lark"])
    of_scientist = install(tmp_path / "installed", lark=OTHER_LARK)
    state = write_story(tmp_path)
    environ = clean_environ(**settings.environ())

    def run(*command: str) -> str:
        done = subprocess.run(
            command,
            env=environ,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    envelope = of_cluster.command("envelope")
    run(envelope, "up")
    run(str(of_scientist.python), "-c", SAVE)
    run(envelope, "apply", "-f", str(state))
    url = f"http://127.0.0.1:{settings.serve_port}"
    assert_hermetic(wait_for_answer(lambda: ask_over_http(url)), settings.environments_dir)

    run(envelope, "batch", "submit", str(state), "where")
    table = pd.DataFrame(read_table(str(tmp_path / "out")))
    assert len(table) == ROWS
    assert_hermetic(json.loads(table.iloc[0, -1]), settings.environments_dir)
    run(envelope, "down")
