"""A check: what its answers mean, and where it is found."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from envelope.check_process import call, find

CANDIDATE: Any = SimpleNamespace(auc=0.7)


def fails(candidate: Any, live: str | None) -> bool:
    raise KeyError("auc")


@pytest.mark.parametrize(
    "check, state, reason",
    [
        pytest.param(lambda c, live: None, "passed", "passed", id="none"),
        pytest.param(lambda c, live: c.auc > 0.5, "passed", "passed", id="true"),
        pytest.param(lambda c, live: np.bool_(False), "refused", "refused it", id="numpy-false"),
        pytest.param(lambda c, live: f"not {live}", "refused", "refused it: not OLD", id="text"),
        pytest.param(fails, "unjudged", "raised KeyError: 'auc'", id="raises"),
        pytest.param(lambda c, live: sys.exit(0), "unjudged", "raised SystemExit: 0", id="exits"),
        pytest.param(lambda c, live: 1, "unjudged", "returned int; let it return", id="number"),
        pytest.param(lambda c: None, "unjudged", "raised TypeError: ", id="another-signature"),
    ],
)
def test_what_an_answer_means(check: Callable[..., Any], state: str, reason: str) -> None:
    verdict = call(check, CANDIDATE, "OLD")
    assert verdict.state == state
    assert verdict.reason.startswith(reason)


def test_a_check_is_found_in_its_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "a_check_of_ours.py").write_text("def fair(candidate, live): return True")
    assert call(find("a_check_of_ours:fair", tmp_path), CANDIDATE, None).state == "passed"
    with pytest.raises(AttributeError, match="has no attribute 'unfair'"):
        find("a_check_of_ours:unfair", tmp_path)
    with pytest.raises(ImportError, match="and not in the gate's working_dir"):
        find("json:loads", tmp_path)
