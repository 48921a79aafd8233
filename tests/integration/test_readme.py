"""What the README says runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import envelope as me
from envelope.config import read_desired_state

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str, path: str = "README.md") -> list[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def test_the_first_example_saves_a_model(home: Path) -> None:
    frame = pd.DataFrame({"age": range(20, 40), "orders": range(20)})
    model = LogisticRegression().fit(frame, frame["orders"] > 9)
    exec(blocks("python")[0], {"model": model, "df_X": frame})
    saved = me.latest(canonical_name="client_ltv")
    assert saved.tags["passes_tests"] == "true"


@pytest.mark.parametrize("text", [pytest.param(text, id=text[:20]) for text in blocks("yaml")])
def test_yaml_examples_are_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "readme.yaml"
    path.write_text(text, encoding="utf-8")
    state = read_desired_state(path)
    for rule in state.rules.values():
        assert rule.deploy_to in state.deployments


def test_every_linked_page_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)} links to {link}"
