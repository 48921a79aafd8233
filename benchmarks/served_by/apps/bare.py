"""The functions with no server: `python bare.py KIND BODY_FILE SECONDS` prints one JSON object.

What a process does at best that reads the same body, predicts and writes the same answer; for the
kinds of one row it is the call alone.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from served import X, dot, model, price


def json_rows(body: bytes) -> bytes:
    return orjson.dumps(model.predict(pd.DataFrame(orjson.loads(body))).tolist())


def arrow_rows(body: bytes) -> bytes:
    with pa.ipc.open_stream(body) as reader:
        frame = reader.read_all().to_pandas()
    table = pa.table({"output": model.predict(frame)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def function_of(kind: str, body: bytes) -> Callable[[], Any]:
    """Return what is called over and over."""
    if kind == "frame":
        row = X.head(1)
        return lambda: model.predict(row)
    if kind == "numpy":
        values = np.asarray(orjson.loads(body)["values"])
        return lambda: dot(values)
    if kind == "primitives":
        arguments = orjson.loads(body)
        return lambda: price(**arguments)
    read = {"json rows": json_rows, "arrow rows": arrow_rows}[kind]
    return lambda: read(body)


def main() -> None:
    kind, file, seconds = sys.argv[1:]
    call = function_of(kind, Path(file).read_bytes())
    for _ in range(3):
        call()
    took_ms = []
    began = time.perf_counter()
    while time.perf_counter() - began < float(seconds):
        before = time.perf_counter()
        call()
        took_ms.append(1000 * (time.perf_counter() - before))
    rps = len(took_ms) / (time.perf_counter() - began)
    p50, p99 = np.percentile(took_ms, [50, 99])
    print(json.dumps({"rps": rps, "p50_ms": p50, "p99_ms": p99}))


if __name__ == "__main__":
    main()
