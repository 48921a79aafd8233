"""What a page draws, as a file: CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

Columns = Mapping[str, Sequence[Any]]


def answer_file(columns: Columns, *, name: str, suffix: str) -> Response:
    """Answer with a file. columns: of equal lengths, by name. suffix: "csv" or "parquet"."""
    if suffix not in WRITERS:
        raise HTTPException(404, f"there is no {name}.{suffix}; there are {', '.join(WRITERS)}")
    media_type, write = WRITERS[suffix]
    headers = {"content-disposition": f'attachment; filename="{name}.{suffix}"'}
    return Response(write(columns), media_type=media_type, headers=headers)


def as_csv(columns: Columns) -> bytes:
    """Write CSV with a header; times as ISO 8601."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([one.isoformat() if isinstance(one, datetime) else one for one in row])
    return text.getvalue().encode()


def as_parquet(columns: Columns) -> bytes:
    """Write Parquet; a column of more than one type becomes text."""
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {name: pa.array(_of_one_type(values)) for name, values in columns.items()}
    written = io.BytesIO()
    parquet.write_table(pa.table(arrays), written)
    return written.getvalue()


def _of_one_type(values: Sequence[Any]) -> Sequence[Any]:
    kinds = {float if type(one) is int else type(one) for one in values}
    return values if len(kinds) <= 1 else [str(one) for one in values]


WRITERS: Mapping[str, tuple[str, Callable[[Columns], bytes]]] = {
    "csv": ("text/csv", as_csv),
    "parquet": ("application/vnd.apache.parquet", as_parquet),
}
