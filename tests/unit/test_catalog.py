from __future__ import annotations

import pytest

from envelope.catalog import split_conjunction


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        pytest.param("a = 1", ["a = 1"], id="one"),
        pytest.param("a = 1 AND b = 2 and c = 3", ["a = 1", "b = 2", "c = 3"], id="three"),
        pytest.param("a = ' and ' and b = 2", ["a = ' and '", "b = 2"], id="and-in-a-string"),
        pytest.param("a = 1 and b = 2 or c = 3", ["a = 1 and b = 2 or c = 3"], id="or"),
        pytest.param("(a = 1 or b = 2) and c = 3", ["(a = 1 or b = 2)", "c = 3"], id="nested"),
        pytest.param('tags."x and y" = 1 and b = 2', ['tags."x and y" = 1', "b = 2"], id="quoted"),
        pytest.param("tags.and-more = 1", ["tags.and-more = 1"], id="and-in-a-key"),
    ],
)
def test_conditions_are_split_at_the_outermost_and(query: str, parts: list[str]) -> None:
    assert split_conjunction(query) == parts
