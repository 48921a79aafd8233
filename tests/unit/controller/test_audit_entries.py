"""What a change says of old and new values, also one that was written before they were kept."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.web.audit import Entry, entries_of
from envelope.registry import Change


def whole(what: str, old: Any, new: Any) -> Entry:
    return Entry(what=what, old=old, new=new)


def half(what: str, new: Any = None) -> Entry:
    return Entry(what=what, old=None, new=new, has_old=False)


@pytest.mark.parametrize(
    ("detail", "entries"),
    [
        pytest.param(None, [], id="nothing"),
        pytest.param({"tags": {"a": ["b", None]}}, [whole("a", "b", None)], id="tags"),
        pytest.param(
            {"version": 2, "changed": {"rollout.steps": [[], [1, 2]]}},
            [half("version", 2), whole("rollout.steps", [], [1, 2])],
            id="config",
        ),
        pytest.param({"pin": ["A", "B"]}, [whole("pin", "A", "B")], id="pin"),
        pytest.param({"actors": [["a"], None]}, [whole("actors", ["a"], None)], id="actors"),
        pytest.param({"names": ["auc", "roc"]}, [half("names", ["auc", "roc"])], id="metrics"),
        pytest.param({"pin": "A"}, [half("pin", "A")], id="pin-of-old"),
        pytest.param({"paused": True}, [half("paused", True)], id="pause-of-old"),
        pytest.param({"actors": ["a", "b"]}, [half("actors", ["a", "b"])], id="actors-of-old"),
        pytest.param(
            {"changes": ["rule us: created"]}, [half("rule us: created")], id="lines-of-old"
        ),
    ],
)
def test_entries(detail: dict[str, Any] | None, entries: list[Entry]) -> None:
    change = Change(seq=1, kind="rule", key="us", at=datetime.now(UTC), actor="ann", detail=detail)
    assert list(entries_of(change)) == entries
