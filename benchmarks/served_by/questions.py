"""What the servers are asked, by kind, and how each answer is known to be right."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "apps"))
import served

START_S = 300.0  # mlflow takes 100 on a busy machine
TOGETHER = 16  # different rows asked at once, before the first measurement

JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One table. rows: per request. clients: how many ask at once, one column each."""

    name: str
    title: str
    clients: tuple[int, ...]
    rows: int = 1


KINDS = (
    Kind(name="frame", title="A row of a DataFrame model", clients=(1, 16, 64)),
    Kind(name="numpy", title="A numpy model", clients=(1, 16, 64)),
    Kind(name="primitives", title="A function of primitives", clients=(1, 16, 64)),
    Kind(name="json rows", title="A frame of 1,000 rows as JSON", clients=(1, 16), rows=1_000),
    Kind(name="arrow rows", title="A frame of 100,000 rows", clients=(1, 4), rows=100_000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A body, and the number or numbers that are the right answer to it."""

    body: bytes
    right: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Something that answers one kind of question.

    questions: the first is what is measured; all are asked at once to begin with.
    numbers: the body of an answer -> the number or numbers in it.
    clients: None for those of the kind.
    """

    name: str
    kind: str
    url: str
    questions: tuple[Question, ...]
    numbers: Callable[[bytes], Any] = json.loads
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": JSON})
    clients: tuple[int, ...] | None = None


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def row_questions(body_of: Callable[[dict[str, float]], Any] = lambda row: row) -> Any:
    """Return rows that all have another answer. body_of: a row as the server wants it."""
    rows = served.X.head(TOGETHER).to_dict("records")
    right = served.model.predict(served.X.head(TOGETHER))
    return tuple(
        Question(body=as_json(body_of(row)), right=answer)
        for row, answer in zip(rows, right, strict=True)
    )


def numpy_questions() -> tuple[Question, ...]:
    rows = served.X.head(TOGETHER).to_numpy()
    return tuple(
        Question(body=as_json({"values": row.tolist()}), right=served.dot(row)) for row in rows
    )


def primitive_questions() -> tuple[Question, ...]:
    houses = [
        {"area": 10.5 + n, "rooms": n, "district": "centre", "is_new": True}
        for n in range(TOGETHER)
    ]
    return tuple(Question(body=as_json(one), right=served.price(**one)) for one in houses)


def frame_of(rows: int) -> Any:
    """Return a frame of so many rows."""
    import pandas as pd

    values = np.random.default_rng(1).normal(size=(rows, len(served.NAMES)))
    return pd.DataFrame(values, columns=served.NAMES)


def rows_question(rows: int, write: Callable[[Any], bytes]) -> tuple[Question, ...]:
    """Return the one question of a large frame."""
    frame = frame_of(rows)
    return (Question(body=write(frame), right=served.model.predict(frame)),)


def records(frame: Any) -> bytes:
    return as_json(frame.to_dict("records"))


def dataframe_split(frame: Any) -> bytes:
    return as_json({"dataframe_split": {"columns": list(frame), "data": frame.values.tolist()}})


def csv(frame: Any) -> bytes:
    return bytes(frame.to_csv(index=False).encode())


def arrow(frame: Any) -> bytes:
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def arrow_numbers(body: bytes) -> Any:
    import pyarrow as pa

    with pa.ipc.open_stream(body) as reader:
        return reader.read_all().column(0).to_numpy()


def wait_for(target: Target) -> None:
    """Wait until a target answers, and make sure that it answers all its questions right."""
    import httpx

    first = target.questions[0]
    deadline = time.monotonic() + START_S
    said = "nothing"
    while True:
        try:
            answer = _ask(target, first)
            if answer.status_code == 200:
                break
            said = f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as exc:
            said = str(exc)
        if time.monotonic() > deadline:
            sys.exit(f"{target.name} does not answer at {target.url}; at last it said: {said}")
        time.sleep(0.3)
    with ThreadPoolExecutor(len(target.questions)) as threads:
        answers = list(threads.map(lambda one: _ask(target, one), target.questions))
    for question, answer in zip(target.questions, answers, strict=True):
        if answer.status_code != 200:
            sys.exit(f"{target.name} answered {answer.status_code}: {answer.text[:500]}")
        found = np.asarray(target.numbers(answer.content), dtype=float).squeeze()
        if found.shape != np.shape(question.right) or not np.allclose(found, question.right):
            sys.exit(f"{target.name} gave a wrong answer: {str(found)[:200]}")
    print(f"{target.name}: right ({len(target.questions)} asked at once)", flush=True)


def _ask(target: Target, question: Question) -> Any:
    import httpx

    return httpx.post(
        target.url, content=question.body, headers=dict(target.headers), timeout=60, trust_env=False
    )
