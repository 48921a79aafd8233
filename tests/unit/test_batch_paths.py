from __future__ import annotations

from pathlib import Path

import pytest

from envelope.config import BatchInput, BatchJobConfig, BatchOutput
from envelope.errors import ConfigError
from ray_runtime.batch.paths import anchored, is_submitted


def job(source: str, target: str = "/out") -> BatchJobConfig:
    return BatchJobConfig(
        query="id = 'x'", input=BatchInput(path=source), output=BatchOutput(path=target)
    )


@pytest.mark.parametrize(
    "path, absolute",
    [
        pytest.param("data/*.csv", "/here/data/*.csv", id="relative"),
        pytest.param("../data", "/data", id="up"),
        pytest.param("/data", "/data", id="absolute"),
        pytest.param("s3://bucket/data", "s3://bucket/data", id="url"),
        pytest.param("simplecache::s3://b/d", "simplecache::s3://b/d", id="chained-url"),
    ],
)
def test_paths_are_relative_to_where_the_job_is_started(path: str, absolute: str) -> None:
    assert anchored(job(path), Path("/here")).input.path == absolute
    assert anchored(job("/in", path), Path("/here")).output.path == absolute


def test_the_home_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert anchored(job("~/data"), Path("/here")).input.path == "/home/ada/data"


@pytest.mark.parametrize("key", ["input.path", "output.path"])
def test_a_submitted_job_has_nothing_to_be_relative_to(key: str) -> None:
    config = job("data") if key == "input.path" else job("/in", "out")
    with pytest.raises(ConfigError, match=rf"{key} is the relative path .* absolute path or a URL"):
        anchored(config, None)
    assert anchored(job("/in", "s3://out"), None).output.path == "s3://out"


def test_rays_job_server_is_known_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert not is_submitted()
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert is_submitted()
