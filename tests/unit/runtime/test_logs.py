"""Finding an error in a replica's log."""

from __future__ import annotations

import pytest

from ray_runtime.logs import lines_of_error

LOG = """\
INFO 2026-03-01 12:00:00,000 ltv_ltv a1 -- envelope 01M is ready after 1.2 s
ERROR 2026-03-01 12:00:01,000 ltv_ltv a1 -- request failed: error id 7f
Traceback (most recent call last):
  File "model.py", line 1, in predict
ValueError: y is 2
ERROR 2026-03-01 12:00:02,000 ltv_ltv a1 -- request failed: error id 8a
KeyError: 'x'""".splitlines()


@pytest.mark.parametrize(
    "error_id, found",
    [
        pytest.param("7f", LOG[1:5], id="with-its-traceback"),
        pytest.param("8a", LOG[5:], id="the-last-one"),
        pytest.param("99", [], id="unknown"),
    ],
)
def test_lines_of_error(error_id: str, found: list[str]) -> None:
    assert lines_of_error(LOG, error_id) == found
