import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from envelope.capture.context import (
    JOBS,
    GitQuery,
    capture_context,
    describe_jobs,
    describe_source,
)
from envelope.capture.source import source_of


@pytest.mark.parametrize(
    "environ, jobs",
    [
        pytest.param({}, {}, id="none"),
        pytest.param(
            {
                "AIRFLOW_CTX_DAG_ID": "nightly",
                "AIRFLOW_CTX_TASK_ID": "train",
                "AIRFLOW_CTX_TRY": "",
            },
            {"airflow": {"dag_id": "nightly", "task_id": "train"}},
            id="airflow",
        ),
        pytest.param(
            {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_TOKEN": "hunter2"},
            {"github": {"run_id": "7"}},
            id="github, without its token",
        ),
        pytest.param(
            {"JENKINS_URL": "x", "BUILD_NUMBER": "7", "BUILD_URL": "https://u:p@ci/job/7"},
            {"jenkins": {"build_number": "7", "url": "https://ci/job/7"}},
            id="jenkins, credentials dropped",
        ),
        pytest.param(
            {
                "RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(
                    {"metadata": {"job_submission_id": "raysubmit_1"}, "runtime_env": {"x": "s"}}
                )
            },
            {"ray": {"submission_id": "raysubmit_1"}},
            id="ray, submitted",
        ),
        pytest.param({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{broken"}, {}, id="ray, unreadable"),
        pytest.param(
            {"SLURM_JOB_ID": "5", "KUBERNETES_SERVICE_HOST": "10.0.0.1", "HOSTNAME": "pod-1"},
            {"slurm": {"job_id": "5"}, "kubernetes": {"pod": "pod-1"}},
            id="several at once",
        ),
    ],
)
def test_describe_jobs(environ, jobs):
    assert describe_jobs(environ) == jobs


def test_no_variable_that_may_hold_a_secret_is_read():
    variables = {name for _, fields in JOBS.values() for name in fields.values()}
    assert not [n for n in variables if any(w in n for w in ("TOKEN", "SECRET", "PASSWORD", "KEY"))]


class Kernel:
    pass


class TerminalInteractiveShell:
    pass


@pytest.mark.parametrize(
    "main, environ, argv, source",
    [
        pytest.param({"__file__": "/x/train.py"}, {}, [], {"script": "/x/train.py"}, id="script"),
        pytest.param(
            {"__file__": "/x/a/__main__.py", "__spec__": SimpleNamespace(name="a.__main__")},
            {},
            [],
            {"script": "-m a"},
            id="module",
        ),
        pytest.param({}, {}, [""], {"script": "interactive"}, id="prompt"),
        pytest.param({}, {}, ["-c"], {"script": "interactive"}, id="-c"),
        pytest.param(
            {"get_ipython": Kernel},
            {"JPY_SESSION_NAME": "/home/me/a.ipynb"},
            ["kernel.py"],
            {"notebook": "/home/me/a.ipynb"},
            id="jupyter",
        ),
        pytest.param(
            {"get_ipython": Kernel, "__vsc_ipynb_file__": "/home/me/b.ipynb"},
            {},
            [],
            {"notebook": "/home/me/b.ipynb"},
            id="notebook of an editor",
        ),
        pytest.param(
            {"get_ipython": Kernel}, {}, [], {"notebook": "unknown"}, id="notebook without a path"
        ),
        pytest.param(
            {"get_ipython": TerminalInteractiveShell},
            {},
            [""],
            {"script": "interactive"},
            id="ipython in a terminal",
        ),
        pytest.param(
            {"dbutils": object()},
            {"DATABRICKS_RUNTIME_VERSION": "15"},
            [],
            {"notebook": "unknown"},
            id="databricks",
        ),
    ],
)
def test_describe_source(main, environ, argv, source):
    assert describe_source(main, environ, argv) == source


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    def git(*arguments: str) -> None:
        identity = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            env={**os.environ, **identity},
        )

    git("init", "-b", "trunk")
    (tmp_path / "train.py").write_text("x = 1\n")
    git("add", "train.py")
    git("commit", "-m", "first")
    git("remote", "add", "origin", "https://me:hunter2@host/team/repo.git")
    return tmp_path


def test_git_of_a_repository(repository):
    git = GitQuery.start(repository).finish()
    assert len(git.pop("commit")) == 40
    assert git == {"branch": "trunk", "is_dirty": False, "remote": "https://host/team/repo.git"}
    (repository / "train.py").write_text("x = 2\n")
    assert GitQuery.start(repository).finish()["is_dirty"] is True


def test_git_outside_a_repository(tmp_path):
    git = GitQuery.start(tmp_path).finish()
    assert git["commit"] == "unknown"
    assert "not a git repository" in git["reason"]


def test_no_git_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    git = GitQuery.start(tmp_path).finish()
    assert git == {"commit": "unknown", "reason": "git cannot be run: No such file or directory"}


def test_a_git_that_hangs_is_unknown_after_the_limit(tmp_path, monkeypatch):
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    started = time.monotonic()
    git = GitQuery.start(tmp_path, limit_s=0.2).finish()
    assert git == {"commit": "unknown", "reason": "git took longer than 0.2 s"}
    assert time.monotonic() - started < 2


def test_context_of_this_process(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--password", "hunter2"])
    context = capture_context()
    assert context["pid"] == os.getpid()
    assert context["python"] == sys.executable
    assert {"git", "user", "host", "jobs"} <= context.keys()
    assert "hunter2" not in json.dumps(context, allow_nan=False)


def test_source_of_a_function():
    def query(x):
        return x + 1

    assert source_of(query) == "def query(x):\n    return x + 1\n"
    assert source_of(len) is None
    assert source_of(eval("lambda x: x")) is None
