"""Each framework in an environment of its own: saved there, loaded by another process, then proved
in an environment that is rebuilt from the envelope alone. Each time the answers have equal bits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.frameworks.environments import CASES, FRAMEWORKS, check, environment, moved_away, run


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_a_model_answers_the_same_in_another_process_and_environment(
    name: str, tmp_path: Path, home: Path
) -> None:
    framework = FRAMEWORKS[name]
    python = environment(name, framework)
    saved, elsewhere = tmp_path / "saved", tmp_path / "elsewhere"
    saved.mkdir()
    elsewhere.mkdir()
    run(python, CASES / f"{name}_case.py", saved, cwd=saved)
    report = json.loads((saved / "report.json").read_text())
    said = run(python, CASES / "loading.py", saved, cwd=elsewhere)

    assert said.splitlines() == [f"{model} answers the same" for model in framework.parts]
    assert {model: found["parts"] for model, found in report["models"].items()} == framework.parts
    assert [claim for claim, holds in report["claims"].items() if not holds] == []
    for model in report["models"].values():
        assert framework.needs & set(model["packages"])

    with moved_away(python.parents[1]):
        for model in report["models"].values():
            envelope = str(Path(sys.executable).parent / "envelope")
            check([envelope, "verify", model["id"], "--tolerance", "0"], cwd=elsewhere)
