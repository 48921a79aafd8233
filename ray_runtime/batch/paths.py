"""Local paths of a job: made absolute where it is started, since its workers run elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from envelope.config import BatchJobConfig
from envelope.errors import ConfigError

# Ray's job server sets it for the process that it starts.
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def is_submitted() -> bool:
    """Say whether this process was started by Ray's job server, in a folder of its own."""
    return _JOB_VARIABLE in os.environ


def working_folder() -> Path:
    """Return the folder that relative paths are relative to."""
    return Path.cwd()


def anchored(config: BatchJobConfig, folder: Path | None) -> BatchJobConfig:
    """Return the job with absolute paths. folder: None where there is none to be relative to.

    Raises ConfigError for a relative path then: a submitted job starts in a copy of its folder,
    which Ray removes with all that was written there.
    """
    return config.model_copy(
        update={
            "input": config.input.model_copy(
                update={"path": _absolute(config.input.path, folder, "input.path")}
            ),
            "output": config.output.model_copy(
                update={"path": _absolute(config.output.path, folder, "output.path")}
            ),
        }
    )


def _absolute(path: str, folder: Path | None, key: str) -> str:
    if "://" in path or "::" in path:
        return path
    expanded = os.path.expanduser(path)
    if os.path.isabs(expanded):
        return expanded
    if folder is None:
        raise ConfigError(
            f"{key} is the relative path {path!r}, and a submitted job starts in a folder that is "
            "removed when it ends; use an absolute path or a URL, or `envelope batch submit`, "
            "which makes it absolute"
        )
    return os.path.normpath(folder / expanded)
