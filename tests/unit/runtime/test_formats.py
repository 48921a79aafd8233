"""CSV and Arrow streams as bodies and answers, and what strangers may send as them."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import envelope as me
from ray_runtime.protocols.arrow_ipc import MEDIA_TYPE, read_stream, write_stream
from ray_runtime.protocols.problem import Malformed, TooLarge
from tests.unit.runtime.conftest import Answered, Client, as_if_in_a_notebook, serving

CSV = {"content-type": "text/csv"}
ARROW = {"content-type": MEDIA_TYPE}


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue()


TABLE = pa.table({"x": [1.0, 0.5], "y": [2.0, 0.0]})


@pytest.mark.parametrize(
    "body, headers, answer",
    [
        pytest.param(b"x,y\n1,2\n0.5,0\n", CSV, b"[6.0,1.0]", id="csv-to-json"),
        pytest.param(b"y,x\r\n2,1\r\n", CSV, b"[6.0]", id="csv-in-another-order"),
        pytest.param(stream(TABLE), ARROW, b"[6.0,1.0]", id="arrow-to-json"),
        pytest.param(stream(TABLE, "zstd"), ARROW, b"[6.0,1.0]", id="compressed-arrow"),
        pytest.param(
            b"x,y\n1,2\n0.5,0\n",
            CSV | {"accept": "text/csv"},
            b"output\r\n6.0\r\n1.0\r\n",
            id="csv",
        ),
        pytest.param(
            b'{"x": 1, "y": 2}',
            {"content-type": "application/json", "accept": "text/csv"},
            b"output\r\n6.0\r\n",
            id="json-to-csv",
        ),
    ],
)
def test_tables_in_and_out(
    sums: me.Envelope, body: bytes, headers: dict[str, str], answer: bytes
) -> None:
    async def ask(client: Client) -> Answered:
        return await client.ask("POST", "/v0/query", body, headers)

    answered = serving(sums, ask)
    assert (answered.status, answered.body.replace(b"\r\n", b"\n")) == (
        200,
        answer.replace(b"\r\n", b"\n"),
    )


def test_arrow_out(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Answered]:
        asked = ARROW | {"accept": MEDIA_TYPE}
        bodies = [stream(pa.table({"x": [float(n)] * 2, "y": [0.0] * 2})) for n in range(20, 40)]
        return await asyncio.gather(
            *(client.ask("POST", "/v0/query", body, asked) for body in bodies)
        )

    for n, answered in enumerate(serving(sums, ask), start=20):
        assert answered.headers["content-type"] == MEDIA_TYPE
        table = pa.ipc.open_stream(answered.body).read_all()
        assert table.to_pydict() == {"output": [2.0 * n] * 2}


def test_every_dtype_survives_arrow(home: Any) -> None:
    kinds = pd.DataFrame(
        {
            "level": pd.Categorical(["a", "b"] * 5, categories=["b", "a", "c"], ordered=True),
            "when": pd.date_range("2024-01-01", periods=10, tz="Europe/Paris", unit="ns"),
            "count": pd.array([1, None] * 5, dtype="Int64"),
            "small": np.arange(10, dtype="uint8"),
        }
    )

    @as_if_in_a_notebook
    class Echo:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            return frame

    saved = me.save_model(name="echo", model=Echo(), query_function="predict", api_input=kinds)

    async def ask(client: Client) -> Answered:
        asked = ARROW | {"accept": MEDIA_TYPE}
        body = stream(pa.Table.from_pandas(kinds, preserve_index=False))
        return await client.ask("POST", "/v0/query", body, asked)

    answered = serving(saved, ask)
    back = pa.ipc.open_stream(answered.body).read_all().to_pandas(ignore_metadata=True)
    pd.testing.assert_frame_equal(
        back.astype({"count": "Int64"}), kinds, check_dtype=True, check_exact=True
    )


@pytest.mark.parametrize(
    "body, headers, status",
    [
        pytest.param(b"", CSV, 400, id="empty-csv"),
        pytest.param(b'x,y\n"1,2\n', CSV, 400, id="wrong-quoting"),
        pytest.param(b"x,y\n1\n", CSV, 400, id="a-field-too-few"),
        pytest.param(b"x,y\nsecret,2\n", CSV, 400, id="csv-of-another-type"),
        pytest.param(b"\xff,y\n1,2\n", CSV, 400, id="csv-not-utf-8"),
        pytest.param(b"", ARROW, 400, id="empty-arrow"),
        pytest.param(b"no arrow at all", ARROW, 400, id="no-arrow"),
        pytest.param(stream(TABLE)[:-60], ARROW, 400, id="truncated-arrow"),
        pytest.param(stream(pa.table({"x": [1.0]})), ARROW, 400, id="a-column-missing"),
    ],
)
def test_bad_tables_are_refused(
    sums: me.Envelope, body: bytes, headers: dict[str, str], status: int
) -> None:
    async def ask(client: Client) -> Answered:
        return await client.ask("POST", "/v0/query", body, headers)

    answered = serving(sums, ask)
    assert answered.status == status
    assert b"secret" not in answered.body


def test_plain_parameters_take_no_tables(adding: me.Envelope) -> None:
    async def ask(client: Client) -> list[Answered]:
        csv_in = await client.ask("POST", "/v0/query", b"a,b\n1,2\n", CSV)
        csv_out = await client.post("/v0/query", {"a": 1}, accept="text/csv")
        return [csv_in, csv_out]

    csv_in, csv_out = serving(adding, ask)
    assert csv_in.status == 415
    assert "send application/json" in csv_in.json["detail"]
    assert csv_out.body.split() == [b"output", b"3"]


class TestReadStream:
    def test_gives_back_what_was_written(self) -> None:
        assert read_stream(write_stream(TABLE), 10_000).equals(TABLE)

    @pytest.mark.parametrize("compression", ["lz4", "zstd"])
    def test_a_bomb_is_refused_before_it_is_unpacked(self, compression: str) -> None:
        bomb = stream(pa.table({"x": np.zeros(4_000_000)}), compression)
        assert len(bomb) < 200_000
        with pytest.raises(TooLarge, match="1,000,000 bytes when decompressed"):
            read_stream(bomb, 1_000_000)
        assert read_stream(bomb, 100_000_000).num_rows == 4_000_000

    def test_a_compressed_dictionary_counts_too(self) -> None:
        levels = pa.array(["a" * 2_000_000, "b"])
        column = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0], pa.int8()), levels)
        bomb = stream(pa.table({"x": column}), "zstd")
        with pytest.raises(TooLarge):
            read_stream(bomb, 1_000_000)

    def test_rows_of_nothing_are_refused(self) -> None:
        with pytest.raises(TooLarge, match="more than the body holds"):
            read_stream(stream(pa.table({"x": pa.nulls(10_000_000)})), 1_000_000)

    def test_offsets_that_lead_outside_are_malformed(self) -> None:
        body = bytearray(stream(pa.table({"x": ["one", "two", "three"]})))
        offsets = np.array([0, 3, 6, 11], np.int32).tobytes()
        place = body.find(offsets)
        body[place + 4 : place + 8] = (2**30).to_bytes(4, "little")
        with pytest.raises(Malformed):
            read_stream(bytes(body), 1_000_000)

    @settings(max_examples=settings.default.max_examples * 3)
    @given(place=st.integers(0, 2000), byte=st.integers(0, 255), cut=st.integers(0, 2000))
    def test_any_damage_is_malformed_or_harmless(self, place: int, byte: int, cut: int) -> None:
        body = bytearray(stream(pa.table({"x": [1.0, 2.0], "s": ["a", None]}), "zstd"))
        body[place % len(body)] = byte
        whole = bytes(body) if cut > len(body) else bytes(body[:cut])
        try:
            table = read_stream(whole, 1_000_000)
        except (Malformed, TooLarge):
            return
        assert table.num_rows <= 8 * 1_000_000
