from __future__ import annotations

import pytest

from envelope.errors import EnvelopeError, IntegrityError, SchemaError
from ray_runtime.batch.failures import worker_error

RAY = """\x1b[36mray::ReadTable->MapBatches(score)->Write()\x1b[39m (pid=12191, ip=192.0.2.2)
  File "/site-packages/ray_runtime/batch/scoring.py", line 76, in score
    raise SchemaError(exc.summary, faults)
envelope.errors.{error}

The above exception was the direct cause of the following exception:

\x1b[36mray::ReadTable->MapBatches(score)->Write()\x1b[39m (pid=12191, ip=192.0.2.2)
ray.exceptions.UserCodeException: UDF failed to process a data block.
Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s)."""

READ = """  File "/site-packages/ray_runtime/batch/reading.py", line 21, in g
envelope.errors.{error}
Failed to apply UDF transform after 1/1 attempts (total backoff 0.0s).
To change retry attempts, backoff, or which errors are retried, configure `ray.data.DataContext`"""


@pytest.mark.parametrize("text", [RAY, READ], ids=["around-the-function", "while-reading"])
@pytest.mark.parametrize(
    "error, kind, message",
    [
        pytest.param(
            "SchemaError: it does not fit\n  a.csv, row 3, age: expected int64, got str",
            SchemaError,
            "it does not fit\n  a.csv, row 3, age: expected int64, got str",
            id="of-several-lines",
        ),
        pytest.param("IntegrityError: changed", IntegrityError, "changed", id="of-one-line"),
        pytest.param("QueryError: odd", EnvelopeError, "odd", id="with-facts-besides"),
        pytest.param("NewerError: odd", EnvelopeError, "odd", id="of-a-newer-version"),
    ],
)
def test_our_error_is_found_in_what_ray_says(
    text: str, error: str, kind: type[EnvelopeError], message: str
) -> None:
    found = worker_error(text.format(error=error))
    assert type(found) is kind
    assert str(found) == message


def test_the_error_that_was_raised_last_counts() -> None:
    text = (
        "envelope.errors.ModelNotFound: inner\n\n"
        "The above exception was the direct cause of the following exception:\n\n"
        "Traceback (most recent call last):\nenvelope.errors.EnvelopeError: outer"
    )
    found = worker_error(text)
    assert type(found) is EnvelopeError
    assert str(found) == "outer"


def test_what_is_not_ours_is_not_found() -> None:
    assert worker_error("ray.exceptions.WorkerCrashedError: The worker died.") is None
