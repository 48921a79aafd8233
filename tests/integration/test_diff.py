from __future__ import annotations

import json
from importlib import reload
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

import envelope as me
from envelope.cli import make_group

pytestmark = pytest.mark.usefixtures("by_value")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(make_group(), arguments)


def test_what_differs_between_two_envelopes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a local module of which one file changed; nothing is unpickled on the way."""
    package = tmp_path / "scales_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("FACTOR = 2.0\n")
    (package / "other.py").write_text("SAME = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import scales_of_mine

    def scaled(frame: pd.DataFrame) -> list[float]:
        return (frame["a"] * scales_of_mine.FACTOR).tolist()

    def save(frame: pd.DataFrame, **tags: str) -> me.Envelope:
        return me.save_model(
            name="m", query_function=scaled, api_input=frame, modules=[scales_of_mine], tags=tags
        )

    first = save(pd.DataFrame({"a": [1.0, 2.0] * 4}), region="US")
    (package / "__init__.py").write_text("FACTOR = 3.00\n")
    reload(scales_of_mine)
    second = save(pd.DataFrame({"a": [2.0, 6.0] * 4, "b": ["x", "y"] * 4}), region="UK")
    second.log_metrics(auc=0.9)

    def refuse(*_: object) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr("pickle.load", refuse)
    found = first.diff(second)
    assert [change.place for change in found.functions[0].schema] == ["frame.b"]
    result = run("diff", first.id.lower(), second.id)
    assert result.exit_code == 0, result.output
    for line in [
        "  + frame.b: str",
        "    ~ input.a: max 2 -> 6, mean 1.5 -> 4, min 1 -> 2, q50 2 -> 6, std 0.534522 -> 2.13809",
        "  ~ scales_of_mine/__init__.py",
        "    -FACTOR = 2.0",
        "    +FACTOR = 3.00",
        "  ~ region: US -> UK",
        "  + auc: 0.9",
    ]:
        assert line in result.stdout.splitlines(), result.stdout
    assert "other.py" not in result.stdout
    as_json = json.loads(run("diff", first.id, second.id, "--json").stdout)
    assert as_json["metrics"] == [{"name": "auc", "kind": "added", "old": None, "new": 0.9}]
    assert run("diff", first.id, first.id).stdout.endswith("\n\nno difference\n")
