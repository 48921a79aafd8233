"""Manifest -> facts."""

from __future__ import annotations

from typing import Any

import pytest

from envelope.manifest import Package
from envelope.registry.facts import environment_key, facts_of, flatten
from tests.manifests import a_manifest, an_environment


@pytest.mark.parametrize(
    "value, facts",
    [
        pytest.param("a", {"x": "a"}, id="text"),
        pytest.param(1, {"x": 1.0}, id="int"),
        pytest.param(True, {"x": True}, id="boolean"),
        pytest.param(None, {}, id="null-is-absent"),
        pytest.param(float("nan"), {}, id="nan-is-absent"),
        pytest.param(10**400, {}, id="no-float64"),
        pytest.param("a\0b", {}, id="nul"),
        pytest.param({}, {"x": None}, id="empty-object-exists"),
        pytest.param({"a": {"b": 1}}, {"x": None, "x.a": None, "x.a.b": 1.0}, id="nested"),
        pytest.param({"a.b": "c"}, {"x": None, 'x."a.b"': "c"}, id="dot-in-key"),
        pytest.param(["a", [2]], {"x": None, "x.0": "a", "x.1": None, "x.1.0": 2.0}, id="list"),
        pytest.param([0] * 101, {"x": None}, id="long-list-only-exists"),
        pytest.param({"k" * 600: 1}, {"x": None}, id="long-path"),
        pytest.param({"\0": 1, "\ud800": 2}, {"x": None}, id="odd-path"),
    ],
)
def test_flatten(value: Any, facts: dict[str, Any]) -> None:
    assert dict(flatten(value, ["x"])) == facts


def test_packages_belong_to_the_environment() -> None:
    own, shared = facts_of(a_manifest())
    assert shared["packages.pandas"] == "2.10.1"
    assert shared["environment.platform"] == "linux-x86_64"
    assert own["hyperparameters.layers.0"] == 64.0
    assert own["artifact.codec"] == "cloudpickle"
    assert not set(own) & set(shared)
    assert not any(path.startswith(("tags", "name", "functions", "created")) for path in own)


def test_equal_environments_have_one_key() -> None:
    _, one = facts_of(a_manifest(hyperparameters={}))
    _, same = facts_of(a_manifest(tags={}))
    other_packages = (Package(name="pandas", version="2.10.2"),)
    _, other = facts_of(a_manifest(environment=an_environment(packages=other_packages)))
    assert environment_key(one) == environment_key(same) != environment_key(other)
