"""Whether the API's description is the truth: schemathesis asks what it says.

`make test` tries API_FUZZ_CASES requests per operation; `make fuzz` a thousand in all.
"""

from __future__ import annotations

import os
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

import envelope as me
from envelope.connection import connect

pytestmark = pytest.mark.usefixtures("by_value")

load_all_checks()
CASES = int(os.environ.get("API_FUZZ_CASES", "2"))
# A query, a cursor or a name may be any text, and few texts are one: that they are refused says
# nothing against the description.
NOT_MEANT = [positive_data_acceptance]


def double(x: float) -> float:
    return 2 * x


@pytest.fixture
def filled(server_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with something in it, behind a server."""
    monkeypatch.setenv("ENVELOPE_REGISTRY", server_url)
    envelope = me.save_model(name="m", query_function=double, api_input=1.0, tags={"a": "b"})
    envelope.log_metrics(auc=0.9)
    connect().registry.request_deploy("ltv", envelope.id, actor="ann")
    return server_url


def test_the_description_is_the_truth(filled: str) -> None:
    for media_type in ("application/zstd", "application/octet-stream"):
        schemathesis.openapi.media_type(media_type, st.binary(max_size=200))
    schema = schemathesis.openapi.from_dict(
        httpx.get(f"{filled}/api/v1/openapi.json", trust_env=False).json()
    )
    schema.config.update(base_url=f"{filled}/api/v1")
    found: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        try:
            ask(operation)
        except (Exception, BaseExceptionGroup) as exc:
            found.append(f"{operation.label}: {exc}")
    assert not found, "\n\n".join(found)


def ask(operation: Any) -> None:
    @hypothesis.settings(
        max_examples=CASES,
        deadline=None,
        derandomize=CASES < 10,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def one(case: Any) -> None:
        case.call_and_validate(excluded_checks=NOT_MEANT)

    one()
