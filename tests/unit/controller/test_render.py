from __future__ import annotations

import json
from typing import Any

import pytest

from controller.web.render import in_script


@pytest.mark.parametrize(
    "found",
    [
        pytest.param({"series": "</script><script>alert(1)</script>"}, id="ends-the-element"),
        pytest.param({"series": "<!--<script>"}, id="opens-a-comment"),
        pytest.param({"at": "2026-01-01", "value": [1.5, None], "a": 'é \u2028 \\ "'}, id="plain"),
    ],
)
def test_nothing_in_a_script_element_ends_it(found: dict[str, Any]) -> None:
    text = in_script(found)
    assert "<" not in text
    assert json.loads(text) == found
