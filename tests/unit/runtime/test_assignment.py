"""Which arm a caller belongs to: the same one for ever, in every process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_runtime.assignment import Sticky, is_in_share, key_in_body, key_in_headers

HEADER = Sticky(header="X-User-Id")
FIELD = Sticky(field="client_id")


def test_a_caller_stays_where_it_was() -> None:
    """Pinned: another hash would send the callers of experiments that run to the other arm."""
    found = [key for key in map(str, range(20)) if is_in_share("r/0", key, 50)]
    assert found == ["2", "3", "6", "7", "8", "11", "12", "16", "17", "19"]


def test_the_share_is_one_of_callers() -> None:
    for percent in (1, 30, 50, 99):
        count = sum(is_in_share("r/0", str(key), percent) for key in range(20_000))
        assert count / 20_000 == pytest.approx(percent / 100, abs=0.015)


def test_another_experiment_draws_other_callers() -> None:
    both = [
        is_in_share("a/0", str(key), 50) and is_in_share("b/0", str(key), 50)
        for key in range(20_000)
    ]
    assert sum(both) / 20_000 == pytest.approx(0.25, abs=0.015)


@given(st.text(), st.floats(0.001, 99), st.floats(0, 1))
def test_a_larger_share_keeps_its_callers(key: str, percent: float, more: float) -> None:
    if is_in_share("r/0", key, percent):
        assert is_in_share("r/0", key, percent + more)


@pytest.mark.parametrize(
    "headers, key",
    [
        pytest.param([(b"x-user-id", b"u1")], "u1", id="there"),
        pytest.param([(b"X-USER-ID", b" u1 ")], "u1", id="in-any-case"),
        pytest.param([(b"x-user-id", b"u1"), (b"x-user-id", b"u2")], "u1", id="the-first"),
        pytest.param([(b"x-user-id", b"J\xf6rg")], "J\xf6rg", id="beyond-ascii"),
        pytest.param([(b"x-user-id", b"")], None, id="empty"),
        pytest.param([(b"x-user", b"u1")], None, id="missing"),
    ],
)
def test_key_in_headers(headers: list[tuple[bytes, bytes]], key: str | None) -> None:
    assert key_in_headers(HEADER, headers) == key


@pytest.mark.parametrize(
    "body, key",
    [
        pytest.param(b'{"client_id": "u1", "x": 2}', "u1", id="text"),
        pytest.param(b'{"client_id": 7}', "7", id="number"),
        pytest.param(b'[{"client_id": 7}, {"client_id": "7"}]', "7", id="rows-of-one-caller"),
        pytest.param(b'[{"client_id": 7}, {"client_id": 8}]', None, id="rows-of-several"),
        pytest.param(b'[{"client_id": 7}, {"x": 8}]', None, id="rows-of-nobody-knows-whom"),
        pytest.param(b"[]", None, id="no-rows"),
        pytest.param(b'{"client_id": [7, 8]}', None, id="columns"),
        pytest.param(b'{"client_id": true}', None, id="no-key"),
        pytest.param(b'{"client_id": 7.5}', None, id="a-float"),
        pytest.param(b'{"client_id": ""}', None, id="empty"),
        pytest.param(b'{"x": {"client_id": 7}}', None, id="deeper"),
        pytest.param(b"client_id\n7\n", None, id="csv"),
        pytest.param(b"[" * 100_000, None, id="too-deep"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_key_in_body(body: bytes, key: str | None) -> None:
    assert key_in_body(FIELD, body) == key
