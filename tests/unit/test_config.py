"""The YAML that people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from envelope.config import read_desired_state
from envelope.deployment_names import check_deployment_name
from envelope.errors import ConfigError

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


def write(folder: Path, text: str) -> Path:
    path = folder / "state.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_quickstart_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVELOPE_HOME", "/somewhere")
    state = read_desired_state(QUICKSTART)
    assert state.rules["newest-tested-doctor-visits"].deploy_to in state.deployments
    assert state.batch_jobs["score-doctor-visits"].input.path == "/somewhere/demo/randhie.parquet"


@pytest.mark.parametrize(
    "text, message",
    [
        pytest.param(
            "deployments: {a: {replicas: 2}}", "deployments.a.replicas: unknown key", id="unknown"
        ),
        pytest.param("deployments: {a: {num_replicas: 0}}", "deployments.a.num_replicas", id="low"),
        pytest.param(
            "deployments: {a: {num_replicas: 2, autoscaling: {max: 4}}}",
            "num_replicas (2) and autoscaling exclude each other: remove num_replicas",
            id="scaled-twice",
        ),
        pytest.param(
            "deployments: {a: {autoscaling: {min: 3, max: 2}}}",
            "min is 3, and max 2: the most cannot be fewer",
            id="min-above-max",
        ),
        pytest.param(
            "deployments: {a: {autoscaling: {min: 0}}}",
            "deployments.a.autoscaling.max: Field required",
            id="no-max",
        ),
        pytest.param("deployments: {a: {timeout_s: .nan}}", "deployments.a.timeout_s", id="nan"),
        pytest.param("deployments: {A b: {}}", "cannot be a deployment's name", id="name"),
        pytest.param("deployments: {a--b: {}}", "cannot be a deployment's name", id="reserved"),
        pytest.param("rules: {r: {deploy_to: a}}", "rules.r.query", id="no-query"),
        pytest.param("rules: [", "is not YAML", id="syntax"),
        pytest.param("just words", "the file", id="not-a-mapping"),
        pytest.param(
            "batch_jobs: {b: {query: a = 1, input: {path: $UNSET_HERE/x}, output: {path: y}}}",
            "environment variable that is not set",
            id="unset-variable",
        ),
    ],
)
def test_faults_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_desired_state(write(tmp_path, text))
    assert message in str(caught.value)


def test_all_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_desired_state(write(tmp_path, "deployments: {a: {x: 1, y: 2, max_queue: 0}}"))
    assert str(caught.value).count("deployments.a") == 3


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_desired_state(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", ["a", "0", "client_ltv", "a-b", "x" * 63])
def test_names_that_can_be_deployments(name: str) -> None:
    assert check_deployment_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "-a", "_a", "a--b", "a/b", "x" * 64, "ä", "a\n"])
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a deployment's name"):
        check_deployment_name(name)
