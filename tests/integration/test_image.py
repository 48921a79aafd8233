"""The build context of an image: its own steps are carried out here, and the server is asked."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import envelope as me
from envelope.archive_commands import export

START_S = 120.0


def doubled(rows: pd.DataFrame) -> pd.Series:
    return rows["x"] * 2


ROWS = pd.DataFrame({"x": [float(n) for n in range(10)]})


@pytest.fixture
def saved(by_value: None) -> me.Envelope:
    return me.save_model(name="doubled", query_function=doubled, api_input=ROWS)


def exported(envelope: me.Envelope, folder: Path, *options: str) -> Result:
    return CliRunner().invoke(
        export, [envelope.id, "--dockerfile", "--to", str(folder), *options], catch_exceptions=True
    )


def steps(folder: Path) -> list[tuple[str, str]]:
    """Return the Dockerfile as (instruction, the rest of its line)."""
    lines = (folder / "Dockerfile").read_text().splitlines()
    return [
        (line.partition(" ")[0], line.partition(" ")[2])
        for line in lines
        if not line.startswith("#")
    ]


@pytest.mark.timeout(400)
def test_the_steps_of_the_dockerfile_make_what_serves_it(
    saved: me.Envelope, tmp_path: Path
) -> None:
    context, work = tmp_path / "context", tmp_path / "envelope"
    assert exported(saved, context, "--deployment", "ltv").exit_code == 0
    work.mkdir()
    # The Python that the base image brings, with nothing but pip; and nothing of this checkout.
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "python")], check=True)
    environ = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ENVELOPE_", "PYTHON", "VIRTUAL_ENV"))
    }
    environ["PATH"] = f"{tmp_path / 'python' / 'bin'}{os.pathsep}{environ['PATH']}"
    command: list[str] = []
    for instruction, rest in steps(context):
        if instruction == "COPY":
            *names, _ = rest.split()
            for name in names:
                copy = shutil.copytree if (context / name).is_dir() else shutil.copy
                copy(context / name, work / name)
        elif instruction == "RUN":
            done = subprocess.run(
                ["/bin/sh", "-c", rest], cwd=work, env=environ, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{rest}\n{done.stderr}"
        elif instruction == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
            environ |= {key: value.replace("/tmp", str(tmp_path)) for key, value in pairs.items()}
        elif instruction == "CMD":
            command = json.loads(rest)
    shutil.rmtree(context)

    with serving([*command, "--host", "127.0.0.1", "--port", "0"], work, environ) as base:
        request = urllib.request.Request(
            f"{base}/v0/query",
            data=b'[{"x": 1.5}, {"x": -2.0}]',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            assert response.headers["X-Envelope-Id"] == saved.id
            assert json.load(response) == [3.0, -4.0]
        with urllib.request.urlopen(f"{base}/docs") as page:
            assert b"doubled" in page.read()


@contextmanager
def serving(command: list[str], work: Path, environ: dict[str, str]) -> Iterator[str]:
    python = shutil.which(command[0], path=environ["PATH"])
    assert python is not None
    process = subprocess.Popen(
        [python, *command[1:]], cwd=work, env=environ, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    clock = threading.Timer(START_S, process.kill)  # reading the line below waits for the server
    clock.start()
    try:
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        assert found, f"the server said {said!r}"
        yield found[0]
    finally:
        clock.cancel()
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


def test_the_context_holds_this_envelope_alone(saved: me.Envelope, tmp_path: Path) -> None:
    other = me.save_model(name="other", query_function=doubled, api_input=ROWS)
    folder = tmp_path / "context"
    done = exported(saved, folder, "--base", "registry.example/python:3.11")

    assert done.output.strip() == str(folder)
    assert [path.name for path in (folder / "store" / "envelopes").iterdir()] == [saved.id]
    assert other.id not in (folder / "replica.json").read_text()
    assert dict(steps(folder))["FROM"] == "registry.example/python:3.11"
    locked = {f"{p.name}=={p.version}" for p in saved.manifest.environment.packages}
    lines = set((folder / "requirements.txt").read_text().splitlines())
    assert locked <= lines
    assert any(line.startswith("uvicorn==") for line in lines)
    assert not any(line.startswith("ray") for line in lines)


@pytest.mark.parametrize(
    "options, message",
    [
        pytest.param(["--deployment", "No Name"], "no name of a deployment", id="name"),
        pytest.param([], "exists; remove it", id="there-already"),
    ],
)
def test_what_cannot_be_written_says_why(
    saved: me.Envelope, tmp_path: Path, options: list[str], message: str
) -> None:
    folder = tmp_path / "context"
    if not options:
        folder.mkdir()
    done = exported(saved, folder, *options)

    assert message in str(done.exception)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".image-")] == []
