"""Tags that only some may set."""

from __future__ import annotations

from pathlib import Path

import pytest

import envelope as me
from envelope.config import DesiredState
from envelope.connection import connect
from envelope.errors import ConfigError
from envelope.registry import Registry
from tests.manifests import a_manifest

SHA = "c" * 64


def protect(registry: Registry, rest: str = "keep", **tags: list[str]) -> list[str]:
    state = DesiredState.model_validate({"protected_tags": tags})
    return registry.apply_state(state, actor="lead", rest=rest)  # type: ignore[arg-type]


def test_only_those_named_may_set_and_remove_it(registry: Registry) -> None:
    assert protect(registry, approved=["ann", "ci@*"]) == [
        "protected tag approved: anybody -> ['ann', 'ci@*']"
    ]
    assert protect(registry, approved=["ann", "ci@*"]) == []
    row = registry.register(a_manifest(tags={}), SHA, actor="bob")
    message = "'approved' is protected and bob may not set it; ann, ci@\\* may"
    with pytest.raises(ConfigError, match=message):
        registry.set_tags(row.id, {"region": "US", "approved": "yes"}, actor="bob")
    assert registry.facts(row.id).tags == {}
    registry.set_tags(row.id, {"approved": "yes"}, actor="ci@runner-7")
    with pytest.raises(ConfigError):
        registry.set_tags(row.id, {"approved": None}, actor="bob")
    registry.set_tags(row.id, {"region": "US"}, actor="bob")
    assert registry.facts(row.id).tags == {"approved": "yes", "region": "US"}


def test_it_cannot_be_saved_with_either(registry: Registry) -> None:
    protect(registry, approved=[])
    with pytest.raises(ConfigError, match="nobody may"):
        registry.register(a_manifest(tags={"approved": "yes"}), SHA, actor="bob")
    assert list(registry.find()) == []


def test_save_model_says_so_before_it_writes(home: Path) -> None:
    connection = connect()
    protect(connection.registry, approved=["ann"])
    with pytest.raises(ConfigError, match="tester@here may not set it; ann may"):
        me.save_model(
            name="m", query_function=len, api_input={"obj": [1]}, tags={"approved": "yes"}
        )
    assert list(connection.store.envelope_ids()) == []


def test_what_a_whole_state_does_not_name_is_free_again(registry: Registry) -> None:
    protect(registry, approved=["ann"], tested=["ci"])
    assert registry.state().protected_tags == {"approved": ("ann",), "tested": ("ci",)}
    assert protect(registry, tested=["ci"]) == []
    assert protect(registry, rest="remove", tested=["ci", "ann"]) == [
        "protected tag tested: ['ci'] -> ['ci', 'ann']",
        "protected tag approved: removed",
    ]
    assert registry.state().protected_tags == {"tested": ("ci", "ann")}
