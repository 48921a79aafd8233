"""What people type, and where the next page begins."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.web.search import after, ago, completions, cursor_of, read_columns, read_search
from envelope.registry import EnvelopeRow, parse


def a_row(at: datetime, **tags: str) -> EnvelopeRow:
    return EnvelopeRow(
        id="01M8A562NXAS9NVT2CV581W2K5",
        name="n",
        description="",
        created_at=at,
        created_by="ann",
        manifest_sha256="0" * 64,
        functions={},
        default_function="predict",
        tags=tags,
        python_version="3.11.7",
    )


@pytest.mark.parametrize(
    ("typed", "query"),
    [
        ("", ""),
        ("  tags.region = 'US' ", "tags.region = 'US'"),
        ("ltv", "(name like '%ltv%' or description like '%ltv%')"),
        (
            "ltv us-1",
            "(name like '%ltv%' or description like '%ltv%')"
            " and (name like '%us-1%' or description like '%us-1%')",
        ),
    ],
)
def test_queries_and_words(typed: str, query: str) -> None:
    found = read_search(typed)
    assert (found.query, found.fault) == (query, None)
    parse(found.query)


@pytest.mark.parametrize("typed", ["tags.region =", "tags.region = 'US", "(", "'", "a = 'b"])
def test_a_broken_query_is_not_taken_for_words(typed: str) -> None:
    found = read_search(typed)
    assert found.fault is not None and "column" in found.fault


@given(st.text(max_size=40))
def test_whatever_is_typed_is_a_query_or_a_fault(typed: str) -> None:
    found = read_search(typed)
    if found.fault is None:
        parse(found.query)


@given(st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC)))
def test_a_cursor_is_a_query_for_what_is_older(at: datetime) -> None:
    cursor = cursor_of(a_row(at))
    query = after("tags.a = '1' or tags.b = '2'", cursor)
    assert parse(query).root is not None
    assert "or tags.b = '2') and (created_at <" in query


@pytest.mark.parametrize("cursor", ["", "x", "2026-01-01T00:00:00Z_' or 1 = 1"])
def test_a_cursor_that_is_none_begins_anew(cursor: str) -> None:
    assert after("tags.a = '1'", cursor) == "tags.a = '1'"


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        ([], ("created_at", "created_by", "tags")),
        (["tags.region, metrics.auc"], ("tags.region", "metrics.auc")),
        (["id", "id", "manifest_sha256"], ("id",)),
    ],
)
def test_columns(asked: list[str], columns: tuple[str, ...]) -> None:
    assert read_columns(asked) == columns


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86400, "1 day ago"),
        (86400 * 90, "2026-01-01"),
    ],
)
def test_ago(seconds: int, words: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(at, at + timedelta(seconds=seconds)) == words


def test_completions_narrow_by_the_commonest_tags_and_are_queries() -> None:
    now = datetime.now(UTC)
    rows = [a_row(now, region="US", owner="o'neill"), a_row(now, region="US")]
    assert completions("", rows) == ["tags.region = 'US'", "tags.owner = 'o''neill'"]
    narrowed = completions("tags.region = 'US' or tags.a = 'b'", rows)
    assert narrowed == ["(tags.region = 'US' or tags.a = 'b') and tags.owner = 'o''neill'"]
    for one in narrowed:
        parse(one)
