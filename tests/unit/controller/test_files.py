"""Several YAML files as one desired state."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.files import read_files
from envelope.errors import ConfigError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_folder_is_all_its_yaml(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", "deployments: {ltv: {num_replicas: 2}}")
    write(tmp_path / "team" / "b.yml", "rules: {us: {query: \"tags.a = 'b'\", deploy_to: ltv}}")
    write(tmp_path / "notes.txt", "not yaml: [")
    state = read_files([tmp_path])
    assert state.deployments["ltv"].num_replicas == 2
    assert state.rules["us"].deploy_to == "ltv"


def test_the_same_file_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "deployments: {ltv: {}}")
    assert list(read_files([path, tmp_path]).deployments) == ["ltv"]


def test_a_name_in_two_files_is_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "deployments: {ltv: {}}")
    second = write(tmp_path / "b.yaml", "deployments: {ltv: {}}")
    with pytest.raises(ConfigError, match=f"deployments.ltv is in {first} and in {second}"):
        read_files([tmp_path])


def test_an_empty_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no \.yaml or \.yml file"):
        read_files([tmp_path])
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_files([tmp_path / "gone.yaml"])
