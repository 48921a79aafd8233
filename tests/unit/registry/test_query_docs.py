"""Every query in docs/queries.md is one, and does what is said beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from envelope.errors import QueryError
from envelope.registry.query import parse

DOCS = Path(__file__).parents[3] / "docs" / "queries.md"
SNIPPET = re.compile(
    r"`((?:not |exists )?(?:tags|metrics|hyperparameters|packages|python_version)\b[^`<]*"
    r"(?:=|<|like|exists)[^`]*)`"
)
WRONG = {"tags.fold = 3"}


def snippets() -> list[str]:
    text = DOCS.read_text()
    fenced = [
        block for block in re.findall(r"```\n(.*?)\n```", text, re.DOTALL) if "Error" not in block
    ]
    return fenced + [query for query in SNIPPET.findall(text) if " " in query]


@pytest.mark.parametrize("query", snippets())
def test_queries_of_the_docs(query: str) -> None:
    if query in WRONG:
        with pytest.raises(QueryError, match="write '3'"):
            parse(query)
    else:
        assert parse(query).root is not None


def test_the_error_of_the_docs_is_ours() -> None:
    with pytest.raises(QueryError) as caught:
        parse("tags.x = 3")
    assert f"QueryError: {caught.value}\n" in DOCS.read_text()


def test_there_are_queries_in_the_docs() -> None:
    assert len(snippets()) >= 10
