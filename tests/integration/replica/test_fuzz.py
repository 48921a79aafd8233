"""Whether /openapi.json is the truth: schemathesis asks what it says, and what it says is refused.

`make test` tries FUZZ_CASES bodies of each kind per operation; `make fuzz` a thousand per envelope.
"""

from __future__ import annotations

import os
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.served import Served

load_all_checks()
CASES = int(os.environ.get("FUZZ_CASES", "5"))
TABLES = ("text/csv", "application/vnd.apache.arrow.stream", "application/octet-stream")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_description_is_the_truth(running: Served, mode: GenerationMode) -> None:
    for media_type in TABLES:
        schemathesis.openapi.media_type(media_type, st.binary(max_size=200))
    schema = schemathesis.openapi.from_url(f"{running.base}/openapi.json")
    found: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # there is nothing that could be wrong
        try:
            ask(operation, mode, CASES if operation.body else 2)
        except (Exception, BaseExceptionGroup) as exc:
            found.append(f"{operation.label}: {exc}")
    assert not found, "\n\n".join(found)


def ask(operation: Any, mode: GenerationMode, cases: int) -> None:
    @hypothesis.settings(
        max_examples=cases,
        deadline=None,
        derandomize=CASES < 50,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        is_exact = mode is GenerationMode.POSITIVE and case.media_type not in TABLES
        if is_exact:
            is_exact = make_exact(case)
        case.call_and_validate(excluded_checks=[] if is_exact else [positive_data_acceptance])

    one()


def make_exact(case: Any) -> bool:
    """Give a body what JSON Schema has no words for; False where that is most of the body.

    Columns are of one length, and a tensor's shape is that of its values.
    """
    if case.operation.path.endswith(("/infer", "/invocations")):
        return False
    case.body = with_equal_columns(case.body)
    return True


def with_equal_columns(body: Any) -> Any:
    if isinstance(body, list):
        return [with_equal_columns(one) for one in body]
    if not isinstance(body, dict):
        return body
    columns = [one for one in body.values() if isinstance(one, list)]
    if len(columns) == len(body) and columns:
        length = min(map(len, columns))
        return {name: one[:length] for name, one in body.items()}
    return {name: with_equal_columns(one) for name, one in body.items()}
