"""Who trained this, from which code, on which machine, in which job."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envelope.capture.installed import without_credentials

GIT_LIMIT_S = 1.0  # all of git together: a repository on a slow disk must not hold up a save

# job system -> (variable that says we are in it, {our name: variable}). Only these variables are
# read: identifiers and addresses, never a value that could be a secret.
JOBS: dict[str, tuple[str, dict[str, str]]] = {
    "airflow": (
        "AIRFLOW_CTX_DAG_ID",
        {
            "dag_id": "AIRFLOW_CTX_DAG_ID",
            "task_id": "AIRFLOW_CTX_TASK_ID",
            "run_id": "AIRFLOW_CTX_DAG_RUN_ID",
            "try_number": "AIRFLOW_CTX_TRY_NUMBER",
            "logical_date": "AIRFLOW_CTX_EXECUTION_DATE",
        },
    ),
    "aws_batch": (
        "AWS_BATCH_JOB_ID",
        {"job_id": "AWS_BATCH_JOB_ID", "attempt": "AWS_BATCH_JOB_ATTEMPT"},
    ),
    "azure_ml": ("AZUREML_RUN_ID", {"run_id": "AZUREML_RUN_ID"}),
    "azure_pipelines": (
        "TF_BUILD",
        {"build_id": "BUILD_BUILDID", "project": "SYSTEM_TEAMPROJECT"},
    ),
    "bitbucket": (
        "BITBUCKET_BUILD_NUMBER",
        {"build_number": "BITBUCKET_BUILD_NUMBER", "repository": "BITBUCKET_REPO_FULL_NAME"},
    ),
    "buildkite": (
        "BUILDKITE",
        {
            "build_id": "BUILDKITE_BUILD_ID",
            "job_id": "BUILDKITE_JOB_ID",
            "pipeline": "BUILDKITE_PIPELINE_SLUG",
            "url": "BUILDKITE_BUILD_URL",
        },
    ),
    "circleci": (
        "CIRCLECI",
        {
            "build_number": "CIRCLE_BUILD_NUM",
            "workflow_id": "CIRCLE_WORKFLOW_ID",
            "repository": "CIRCLE_PROJECT_REPONAME",
            "url": "CIRCLE_BUILD_URL",
        },
    ),
    "databricks": (
        "DATABRICKS_RUNTIME_VERSION",
        {"runtime_version": "DATABRICKS_RUNTIME_VERSION", "cluster_id": "DB_CLUSTER_ID"},
    ),
    "github": (
        "GITHUB_ACTIONS",
        {
            "run_id": "GITHUB_RUN_ID",
            "run_attempt": "GITHUB_RUN_ATTEMPT",
            "workflow": "GITHUB_WORKFLOW",
            "repository": "GITHUB_REPOSITORY",
            "actor": "GITHUB_ACTOR",
            "commit": "GITHUB_SHA",
        },
    ),
    "gitlab": (
        "GITLAB_CI",
        {
            "job_id": "CI_JOB_ID",
            "pipeline_id": "CI_PIPELINE_ID",
            "project": "CI_PROJECT_PATH",
            "commit": "CI_COMMIT_SHA",
            "url": "CI_JOB_URL",
        },
    ),
    "jenkins": (
        "JENKINS_URL",
        {"job_name": "JOB_NAME", "build_number": "BUILD_NUMBER", "url": "BUILD_URL"},
    ),
    "kubernetes": (
        "KUBERNETES_SERVICE_HOST",
        {"pod": "HOSTNAME", "pod_name": "POD_NAME", "namespace": "POD_NAMESPACE"},
    ),
    "lsf": ("LSB_JOBID", {"job_id": "LSB_JOBID", "job_name": "LSB_JOBNAME"}),
    "pbs": ("PBS_JOBID", {"job_id": "PBS_JOBID", "job_name": "PBS_JOBNAME"}),
    "prefect": ("PREFECT__FLOW_RUN_ID", {"flow_run_id": "PREFECT__FLOW_RUN_ID"}),
    "ray": ("RAY_JOB_ID", {"job_id": "RAY_JOB_ID"}),
    "sagemaker": ("TRAINING_JOB_NAME", {"job_name": "TRAINING_JOB_NAME"}),
    "slurm": (
        "SLURM_JOB_ID",
        {
            "job_id": "SLURM_JOB_ID",
            "job_name": "SLURM_JOB_NAME",
            "array_task_id": "SLURM_ARRAY_TASK_ID",
            "cluster": "SLURM_CLUSTER_NAME",
        },
    ),
    "teamcity": (
        "TEAMCITY_VERSION",
        {"build_number": "BUILD_NUMBER", "project": "TEAMCITY_PROJECT_NAME"},
    ),
    "vertex_ai": ("CLOUD_ML_JOB_ID", {"job_id": "CLOUD_ML_JOB_ID"}),
}


def capture_context() -> dict[str, Any]:
    """Describe the process that saves.

    {"git": {"commit", "branch", "is_dirty", "remote"}, "user", "host", "pid", "python",
    "script" or "notebook", "jobs": {"airflow": {...}, ...}}. What cannot be found out is left
    out; `git.commit` is then "unknown" and `git.reason` says why. Of the command line only the
    script is kept, because arguments may hold secrets.
    """
    main = vars(sys.modules["__main__"])
    source = describe_source(main, os.environ, sys.argv)
    git = GitQuery.start(_code_folder(source))
    context: dict[str, Any] = {
        "user": _user(),
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "python": sys.executable,
        **source,
        "jobs": describe_jobs(os.environ),
    }
    return {"git": git.finish(), **context}


def describe_jobs(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """List the job systems that this process runs in, each with its identifiers."""
    jobs = {
        system: {
            name: without_credentials(environ[variable])
            for name, variable in fields.items()
            if environ.get(variable)
        }
        for system, (marker, fields) in JOBS.items()
        if environ.get(marker)
    }
    if submission := _ray_submission_id(environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "")):
        jobs.setdefault("ray", {})["submission_id"] = submission
    return jobs


def _ray_submission_id(text: str) -> str | None:
    """Ray hands a submitted job its id in this JSON, beside settings that are not ours to keep."""
    try:
        found = json.loads(text)["metadata"]["job_submission_id"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def describe_source(
    main: Mapping[str, Any], environ: Mapping[str, str], argv: list[str]
) -> dict[str, str]:
    """Say which notebook or script this is: {"notebook": path} or {"script": path}.

    main: the namespace of `__main__`. A notebook whose path its server does not tell is
    "unknown"; a prompt is {"script": "interactive"}.
    """
    if "get_ipython" in main:
        path = main.get("__vsc_ipynb_file__") or environ.get("JPY_SESSION_NAME")
        if path or _is_kernel(main):
            return {"notebook": str(path or "unknown")}
    if environ.get("DATABRICKS_RUNTIME_VERSION") and "dbutils" in main:
        return {"notebook": "unknown"}
    spec = main.get("__spec__")
    if spec is not None and getattr(spec, "name", None):
        return {"script": f"-m {spec.name.removesuffix('.__main__')}"}
    path = main.get("__file__") or (argv[0] if argv else "")
    if not path or path == "-c" or path.startswith("<"):
        return {"script": "interactive"}
    return {"script": os.path.abspath(path)}


def _is_kernel(main: Mapping[str, Any]) -> bool:
    shell = main["get_ipython"]()
    return type(shell).__name__ != "TerminalInteractiveShell"


def _code_folder(source: Mapping[str, str]) -> Path:
    """The folder whose repository holds the code: the script's own, unless it is a tool's."""
    path = Path(source.get("script") or source.get("notebook") or "")
    if path.is_absolute() and path.is_file() and not path.is_relative_to(sys.prefix):
        return path.parent
    return Path.cwd()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose uid has no name
        return f"uid-{os.getuid()}" if hasattr(os, "getuid") else "unknown"


_GIT_COMMANDS = {
    "head": ("rev-parse", "HEAD", "--abbrev-ref", "HEAD"),
    "status": ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=dirty"),
    "remote": ("config", "--get", "remote.origin.url"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitQuery:
    """git's answers on their way: started together, collected within one limit."""

    processes: dict[str, subprocess.Popen[str]]
    limit_s: float
    deadline: float
    fault: str | None = None

    @classmethod
    def start(cls, folder: Path, *, limit_s: float = GIT_LIMIT_S) -> GitQuery:
        # No lock is taken, so that a running git is not disturbed, and nothing is asked for.
        environ = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
        environ["LC_ALL"] = "C"
        processes: dict[str, subprocess.Popen[str]] = {}
        fault: str | None = None
        try:
            for name, arguments in _GIT_COMMANDS.items():
                processes[name] = subprocess.Popen(
                    ["git", *arguments],
                    cwd=folder,
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                )
        except OSError as exc:
            fault, limit_s = f"git cannot be run: {exc.strerror}", 0.0
        deadline = time.monotonic() + limit_s
        return cls(processes=processes, limit_s=limit_s, deadline=deadline, fault=fault)

    def finish(self) -> dict[str, Any]:
        """Collect what has been answered by the deadline; kill the rest."""
        answers = {name: self._collect(process) for name, process in self.processes.items()}
        head, status, remote = (answers.get(name, (None, "")) for name in _GIT_COMMANDS)
        if self.fault or head[0] is None:
            return {"commit": "unknown", "reason": self.fault or head[1] or "git gave no answer"}
        commit, _, branch = head[0].partition("\n")
        git: dict[str, Any] = {"commit": commit.strip(), "branch": branch.strip()}
        if status[0] is None:
            git["reason"] = status[1]
        else:
            git["is_dirty"] = bool(status[0].strip())
        if remote[0]:
            git["remote"] = without_credentials(remote[0].strip())
        return git

    def _collect(self, process: subprocess.Popen[str]) -> tuple[str | None, str]:
        """Return (output or None, why there is none)."""
        try:
            out, err = process.communicate(timeout=max(0.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, f"git took longer than {self.limit_s:g} s"
        if process.returncode == 0:
            return out, ""
        return None, err.strip().splitlines()[0][:300] if err.strip() else "git failed"
