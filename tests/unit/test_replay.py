from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.replay import Comparison, Difference, compare

RTOL = 1e-9
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "old, new, found",
    [
        pytest.param([1.0, 2.0], [1.0, 2.0], Comparison([], 0.0), id="equal"),
        pytest.param("a", "a", Comparison([], 0.0), id="equal-text"),
        pytest.param(
            "a", "b", Comparison([Difference("output", "another str")], 0.0), id="other-text"
        ),
        pytest.param(1, 2, Comparison([Difference("output", "another int")], 0.0), id="other-int"),
        pytest.param(
            [{"p": 1.0}, {"p": 2.0}],
            [{"p": 1.0}, {"p": 3.0}],
            Comparison([Difference("[1].p", "relative difference 0.33")], 1 / 3, 1.0),
            id="other-float",
        ),
        pytest.param(
            None, 1.0, Comparison([Difference("output", "NoneType became float")], 0.0), id="null"
        ),
        pytest.param(
            True, 1, Comparison([Difference("output", "bool became int")], 0.0), id="bool-is-no-int"
        ),
        pytest.param(
            [1.0],
            [1.0, 2.0],
            Comparison([Difference("output", "other members, or another number of them")], 0.0),
            id="length",
        ),
        pytest.param(
            {"a": 1},
            {"b": 1},
            Comparison([Difference("output", "other members, or another number of them")], 0.0),
            id="members",
        ),
    ],
)
def test_compare(old: Any, new: Any, found: Comparison) -> None:
    assert compare(old, new, rtol=RTOL) == found


def test_a_float_within_the_tolerance_is_no_difference() -> None:
    found = compare([1e9, 1.0], [1e9 + 0.5, 1.0], rtol=RTOL)
    assert found.differences == []
    assert 0 < found.max_difference < RTOL
    assert found.max_absolute == 0.5


def test_a_sum_that_cancels_out_is_measured_by_its_column() -> None:
    assert compare([5.0, 1e-17], [5.0, 0.0], rtol=RTOL).differences == []
    assert compare([1e-17], [0.0], rtol=RTOL).differences != []


def test_columns_do_not_lend_each_other_their_size() -> None:
    old = [{"large": 1e12, "small": 0.1}]
    assert compare(old, [{"large": 1e12, "small": 0.2}], rtol=RTOL).differences != []


@given(JSON_VALUES)
def test_a_value_equals_itself(value: Any) -> None:
    assert compare(value, value, rtol=RTOL) == Comparison([], 0.0)


@given(JSON_VALUES, JSON_VALUES)
def test_no_value_is_ever_told(old: Any, new: Any) -> None:
    for difference in compare({"k": old}, {"k": new}, rtol=RTOL).differences:
        assert difference.how.startswith(("relative", "another", "other members")) or (
            " became " in difference.how
        )
