"""Text -> tree, and what is said about text that is no query."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envelope.errors import QueryError
from envelope.registry.query import parse, query_from_tags
from envelope.registry.query.tree import And, Compare, Exists, In, Key, Like, Not, Or, leaves


def tag(name: str) -> Key:
    return Key(source="tag", name=name)


def equal(name: str, value: str) -> Compare:
    return Compare(key=tag(name), operator="=", value=value)


A, B, C = equal("a", "1"), equal("b", "2"), equal("c", "3")
a, b, c = "tags.a = '1'", "tags.b = '2'", "tags.c = '3'"


@pytest.mark.parametrize(
    "text, root",
    [
        pytest.param("", None, id="empty"),
        pytest.param(" \n", None, id="blank"),
        pytest.param(a, A, id="one"),
        pytest.param(f"{a} and {b} and {c}", And(terms=(A, B, C)), id="and"),
        pytest.param(f"{a} or {b} and {c}", Or(terms=(A, And(terms=(B, C)))), id="and-first"),
        pytest.param(f"({a} or {b}) and {c}", And(terms=(Or(terms=(A, B)), C)), id="group"),
        pytest.param(f"not {a} and {b}", And(terms=(Not(term=A), B)), id="not-binds-tightest"),
        pytest.param(f"not not {a}", Not(term=Not(term=A)), id="not-not"),
        pytest.param(f"NOT {a} AND {b}", And(terms=(Not(term=A), B)), id="upper"),
        pytest.param("tags.a='1'and tags.b='2'", And(terms=(A, B)), id="no-spaces"),
        pytest.param("tags.a\n=\t'1'", A, id="lines"),
        pytest.param("tags.x = 'it''s'", equal("x", "it's"), id="quote"),
        pytest.param("tags.x = ''", equal("x", ""), id="empty-string"),
        pytest.param("tags.\"some key\" = '1'", equal("some key", "1"), id="odd-key"),
        pytest.param('tags."a""b" = \'1\'', equal('a"b', "1"), id="quote-in-key"),
        pytest.param("tags.and = '1'", equal("and", "1"), id="keyword-as-key"),
        pytest.param("tags.é-1_x = '1'", equal("é-1_x", "1"), id="letters"),
        pytest.param(
            "tags.x in ('a', 'b')",
            In(key=tag("x"), values=("a", "b"), is_negated=False),
            id="in",
        ),
        pytest.param(
            "tags.x not in ('a')", In(key=tag("x"), values=("a",), is_negated=True), id="not-in"
        ),
        pytest.param(
            "tags.x like 'a%'", Like(key=tag("x"), pattern="a%", is_negated=False), id="like"
        ),
        pytest.param(
            "tags.x not like 'a\\_'",
            Like(key=tag("x"), pattern="a\\_", is_negated=True),
            id="not-like",
        ),
        pytest.param("exists tags.x", Exists(key=tag("x")), id="exists"),
        pytest.param("exists(tags.x)", Exists(key=tag("x")), id="exists-call"),
        pytest.param("tags.x exists", Exists(key=tag("x")), id="exists-after"),
        pytest.param(
            "metrics.auc >= -1.5e-3",
            Compare(key=Key(source="metric", name="auc"), operator=">=", value=-0.0015),
            id="number",
        ),
        pytest.param(
            "hyperparameters.a.b = true",
            Compare(key=Key(source="fact", name="hyperparameters.a.b"), operator="=", value=True),
            id="boolean",
        ),
        pytest.param(
            "packages.Scikit_Learn < '1.10'",
            Compare(
                key=Key(source="version", name="packages.scikit-learn"),
                operator="<",
                value="1.10",
            ),
            id="package-names-are-normalised",
        ),
        pytest.param(
            "python_version = '3.11.7'",
            Compare(
                key=Key(source="version", name="environment.python"), operator="=", value="3.11.7"
            ),
            id="python-version",
        ),
        pytest.param(
            "created_at < '2026-01-31T12:00:00+02:00'",
            Compare(
                key=Key(source="time", name="created_at"),
                operator="<",
                value=datetime(2026, 1, 31, 10, tzinfo=UTC),
            ),
            id="time",
        ),
        pytest.param(
            "created_at < '2026-01-31'",
            Compare(
                key=Key(source="time", name="created_at"),
                operator="<",
                value=datetime(2026, 1, 31, tzinfo=UTC),
            ),
            id="date",
        ),
    ],
)
def test_parse(text: str, root: object) -> None:
    assert parse(text).root == root


@pytest.mark.parametrize(
    "text, column, message",
    [
        pytest.param("tags.x = 3", 10, "tags are strings: write '3'", id="tag-number"),
        pytest.param("tags.x = true", 10, "tags are strings: write 'true'", id="tag-boolean"),
        pytest.param("tags.x in ('a', 3)", 17, "tags are strings: write '3'", id="in"),
        pytest.param("metrics.auc > '0.9'", 15, "metrics are numbers", id="metric-text"),
        pytest.param("metrics.auc like '0%'", 18, "like is for text", id="metric-like"),
        pytest.param("tag.x = 'a'", 1, "there is no key 'tag'; did you mean tags?", id="root"),
        pytest.param("xyz.x = 'a'", 1, "the keys are tags.*, metrics.*", id="unknown-root"),
        pytest.param("tags = 'a'", 1, "tags needs a name below it, such as tags.reg", id="bare"),
        pytest.param("name.x = 'a'", 1, "name is a single value", id="below-a-column"),
        pytest.param("tags.a.b = 'x'", 1, 'in double quotes: tags."a.b"', id="dots"),
        pytest.param("tags.x == 'a'", 9, "Equality is a single =", id="double-equals"),
        pytest.param("tags.x = US", 10, "Strings take single quotes: 'US'", id="no-quotes"),
        pytest.param('tags.x = "US"', 10, "strings take single quotes", id="double-quotes"),
        pytest.param("tags.x = 'a", 10, "this string has no closing quote", id="open-string"),
        pytest.param("tags.some key = 'a'", 11, 'tags."some key"', id="space-in-key"),
        pytest.param("tags. = 'a'", 5, "a key has names between its dots", id="empty-segment"),
        pytest.param("tags.x =", 9, "ends too early; expected a string", id="no-value"),
        pytest.param("tags.x = 'a' and", 17, "ends too early; expected a key", id="no-term"),
        pytest.param("(tags.x = 'a'", 14, "ends too early; expected )", id="open"),
        pytest.param("tags.x = 'a')", 13, "this ) closes nothing; remove it", id="close"),
        pytest.param("tags.x = 'a' tags.y = 'b'", 14, "expected and, or or the end", id="two"),
        pytest.param("tags.x in ()", 12, "unexpected ')'", id="empty-list"),
        pytest.param("tags.x = 'a' && tags.y = 'b'", 14, "write and", id="ampersand"),
        pytest.param("!tags.x = 'a'", 1, "write not", id="bang"),
        pytest.param("tags.x = 'a';", 13, "unexpected ';'", id="semicolon"),
        pytest.param("metrics.a > 1e999", 13, "larger than any number", id="infinite"),
        pytest.param("metrics.a > 1.2.3", 13, "unexpected", id="bad-number"),
        pytest.param("proved", 7, "ends too early; expected not, exists, one of = !=", id="flag"),
        pytest.param("proved = 'true'", 10, "write proved = true", id="flag-text"),
        pytest.param("exists proved", 8, "write proved = true", id="flag-exists"),
        pytest.param("hyperparameters.x < true", 21, "true and false have no order", id="order"),
        pytest.param("created_at > '2026-01-31T12:00'", 14, "has no time zone", id="naive"),
        pytest.param("created_at > 'yesterday'", 14, "neither a date nor a time", id="no-time"),
        pytest.param("created_at > 2026", 14, "a time in quotes", id="time-number"),
        pytest.param("created_at > '0001-01-01T00:00+23:00'", 14, "out of range", id="early"),
        pytest.param("packages.x < 'new'", 14, "'new' is not a version", id="no-version"),
        pytest.param("packages.x = 2", 14, "versions are strings: write '2'", id="version-number"),
        pytest.param("tags.x like 'a\\'", 13, "ends in a backslash", id="lone-backslash"),
        pytest.param("tags.x = 'a\0b'", 1, "holds a NUL character at position 12", id="nul"),
        pytest.param("tags.x = '\ud800'", 1, "half a surrogate pair", id="surrogate"),
        pytest.param("tags.x = 'a'\nand tags.y = 3", 27, "write '3'", id="second-line"),
        pytest.param("x" * 20_001, 1, "the limit is 20000", id="long"),
        pytest.param("(" * 51 + a + ")" * 51, 51, "nested over 50 deep", id="deep"),
        pytest.param("not " * 200 + a, 1, "nested over 50 deep", id="not-not-not"),
        pytest.param(" or ".join([a] * 301), 4801, "over 300 comparisons; use in", id="many"),
    ],
)
def test_faults_point_at_their_column(text: str, column: int, message: str) -> None:
    with pytest.raises(QueryError, match=re.escape(message)) as caught:
        parse(text)
    assert caught.value.column == column
    *_, shown, caret = str(caught.value).split("\n")
    assert len(shown.encode("utf-16", "surrogatepass")) and caret == "  " + " " * (column - 1) + "^"


def test_what_fits_the_limits_is_parsed() -> None:
    assert len(list(leaves(parse(" or ".join([a] * 300)).root))) == 300
    assert parse("(" * 50 + a + ")" * 50).root == A
    assert parse("tags.x = '" + "(" * 100 + " not " * 100 + "'").root is not None


@given(text=st.text() | st.lists(st.sampled_from([*a, "(", ")", "not", "in", " "])).map("".join))
def test_any_text_is_parsed_or_refused_at_a_column(text: str) -> None:
    try:
        parse(text)
    except QueryError as error:
        assert 1 <= error.column <= len(text) + 1


@given(tags=st.dictionaries(st.text(min_size=1, max_size=30), st.text(max_size=50), max_size=4))
def test_keyword_form_asks_for_exactly_these_tags(tags: dict[str, str]) -> None:
    from envelope.registry.text import fault_of

    if any(map(fault_of, [*tags, *tags.values()])):
        return
    found = {leaf.key.name: leaf.value for leaf in leaves(parse(query_from_tags(tags)).root)}  # type: ignore[union-attr]  # they are comparisons
    assert found == tags


def test_parsing_is_fast_once_warm() -> None:
    parse(a)
    best_s = 1.0
    for n in range(20):
        start = time.perf_counter()
        parse(f"tags.canonical_name = 'm{n}' and tags.region = 'US' and metrics.auc > 0.9")
        best_s = min(best_s, time.perf_counter() - start)
    assert best_s < 0.001
