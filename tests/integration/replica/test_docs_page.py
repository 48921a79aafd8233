"""The page of a deployment: what it shows, and that its examples work as they stand."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from html.parser import HTMLParser

import cloudpickle
import httpx

from ray_runtime.protocols.snippets import ORIGIN
from tests.integration.replica import shapes
from tests.served import Served, served
from tests.unit.runtime.conftest import options_for


class Page(HTMLParser):
    """examples: title -> the text as a reader copies it. cells: of the tables, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.examples: dict[str, str] = {}
        self.cells: list[str] = []
        self.tags: list[str] = []
        self._title: str | None = None
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "pre":
            self._title = str(dict(attrs)["data-example"])
            self.examples[self._title] = ""
        if tag in ("td", "th"):
            self._in_cell = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._title = None
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._title is not None:
            self.examples[self._title] += data
        if self._in_cell:
            self.cells[-1] += data


def test_every_example_is_answered_as_printed(running: Served) -> None:
    found = Page(httpx.get(f"{running.base}/docs").text)
    (function,) = httpx.get(f"{running.base}/v0/model_info").json()["functions"].values()
    sample = function["sample"]
    assert json.loads(found.examples.pop("Answer")) == sample["output"]
    assert {"curl", "Python"} <= set(found.examples)
    told = {title.lower(): text for title, text in found.examples.items()}
    assert told == function["examples"]
    for title, text in found.examples.items():
        text = text.replace(ORIGIN, f"http://127.0.0.1:{running.port}")
        command = [sys.executable, "-c"] if title == "Python" else ["bash", "-c"]
        done = subprocess.run([*command, text], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        read = ast.literal_eval if title == "Python" else json.loads
        assert read(done.stdout) == sample["output"], title


def test_the_page_tells_what_a_caller_needs(running: Served) -> None:
    text = httpx.get(f"{running.base}/docs").text
    found = Page(text)
    info = httpx.get(f"{running.base}/v0/model_info").json()
    assert info["envelope_id"] in text
    assert "release-1" in text
    assert "script" in found.tags
    assert "<script>alert" not in text
    assert "<b>" not in text
    if info["name"].startswith("churn"):
        rows = [tuple(found.cells[at : at + 4]) for at in range(4, len(found.cells), 4)]
        (function,) = info["functions"].values()
        assert [tuple(one.values()) for one in function["inputs"]] == rows
        assert rows == [
            ("age", "int64", "20 to 31", "no"),
            ("income", "float", "1000 to 3755.5", "yes"),
            ("visits", "int32", "0 to 11", "yes"),
            ("plan", "one of 3 levels", "basic, plus, pro", "yes"),
            (
                "since",
                "timestamp[us, UTC]",
                "2024-01-31T08:00:00+00:00 to 2024-02-04T11:00:00+00:00",
                "yes",
            ),
            ("note", "str", rows[5][2], "no"),
            ("is_new", "bool", "true, false", "no"),
        ]


def test_without_a_sample_examples_are_made_from_the_types(home: object) -> None:
    cloudpickle.register_pickle_by_value(shapes)
    envelope = shapes.row_wise(sample=False)
    cloudpickle.unregister_pickle_by_value(shapes)
    with served(options_for(envelope)) as server:
        found = Page(httpx.get(f"{server.base}/docs").text)
        assert set(found.examples) == {"curl", "Python", "CSV"}
        for title in ("curl", "CSV"):
            text = found.examples[title].replace(ORIGIN, f"http://127.0.0.1:{server.port}")
            done = subprocess.run(["bash", "-c", text], capture_output=True, text=True)
            assert isinstance(json.loads(done.stdout), list), done.stdout
