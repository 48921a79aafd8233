from __future__ import annotations

import asyncio
import gzip
import json
import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard

import envelope as me
from tests.unit.runtime.conftest import Answered, Client, as_if_in_a_notebook, frame, serving

JSON = {"content-type": "application/json"}
ROW = {"x": 1.0, "y": 2.0}


@pytest.mark.parametrize(
    "body, output",
    [
        pytest.param(ROW, 6.0, id="a-row-gives-its-output"),
        pytest.param([ROW, {"x": 0.5, "y": 0}], [6.0, 1.0], id="rows-give-a-list"),
        pytest.param({"x": [1.0, 0.5], "y": [2.0, 0.0]}, [6.0, 1.0], id="columns-give-a-list"),
        pytest.param([], [], id="no-rows"),
    ],
)
def test_a_frame_in_each_form(sums: me.Envelope, body: Any, output: Any) -> None:
    async def ask(client: Client) -> Answered:
        return await client.post("/v0/query", body)

    answer = serving(sums, ask)
    assert (answer.status, answer.json) == (200, output)
    assert answer.headers["x-envelope-id"] == sums.id
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path, body, output",
    [
        pytest.param("/v0/query", {"a": 3, "b": 4}, 7, id="parameters"),
        pytest.param("/v0/query", {"a": 3}, 5, id="a-default"),
        pytest.param("/v0/query/add", {"a": 3.0}, 5, id="by-name-and-widened"),
    ],
)
def test_plain_parameters(adding: me.Envelope, path: str, body: Any, output: Any) -> None:
    async def ask(client: Client) -> Answered:
        return await client.post(path, body)

    answer = serving(adding, ask)
    assert (answer.status, answer.json) == (200, output)


@pytest.mark.parametrize(
    "method, path, body, headers, status, says",
    [
        pytest.param("POST", "/v0/query", b'{"x": 1', JSON, 400, "JSON", id="not-json"),
        pytest.param("POST", "/v0/query", b"", JSON, 400, "", id="empty"),
        pytest.param("POST", "/v0/query", b"[" * 100_000, JSON, 400, "", id="deeply-nested"),
        pytest.param("POST", "/v0/query", b'{"x": NaN, "y": 1}', JSON, 400, "", id="a-nan-token"),
        pytest.param("POST", "/v0/query", b'"\\ud800"', JSON, 400, "", id="a-lone-surrogate"),
        pytest.param("POST", "/v0/query", b"\xff\xfe", JSON, 400, "", id="not-utf-8"),
        pytest.param("GET", "/v0/query", b"", {}, 405, "takes POST, not GET", id="method"),
        pytest.param("DELETE", "", b"", {}, 405, "takes GET and HEAD", id="method-of-index"),
        pytest.param("POST", "/v0/query/nope", b"{}", JSON, 404, "/ltv/docs", id="no-function"),
        pytest.param(
            "POST",
            "/v0/query",
            b"x=1",
            {"content-type": "application/x-www-form-urlencoded"},
            415,
            "curl --json",
            id="what-curl-sends",
        ),
        pytest.param(
            "POST",
            "/v0/query",
            b"{}",
            {"content-type": "application/json; charset=utf-16"},
            415,
            "send UTF-8",
            id="charset",
        ),
        pytest.param(
            "POST", "/v0/query", b"{}", JSON | {"accept": "image/png"}, 406, "Accept", id="accept"
        ),
        pytest.param("POST", "/v0/query", b" " * 2001, JSON, 413, "2,000 bytes", id="too-large"),
        pytest.param(
            "POST",
            "/v0/query",
            gzip.compress(b" " * 3000),
            JSON | {"content-encoding": "gzip"},
            413,
            "when decompressed",
            id="too-large-unpacked",
        ),
        pytest.param(
            "POST",
            "/v0/query",
            b"no gzip",
            JSON | {"content-encoding": "gzip"},
            400,
            "not whole gzip",
            id="not-gzip",
        ),
        pytest.param(
            "POST", "/v0/query", b"{}", JSON | {"content-encoding": "br"}, 415, "gzip", id="brotli"
        ),
        pytest.param("POST", "/v0/query_bulk", b"{}", JSON, 400, "JSON list", id="bulk-no-list"),
    ],
)
def test_refusals(
    sums: me.Envelope,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    says: str,
) -> None:
    async def ask(client: Client) -> Answered:
        return await client.ask(method, path, body, headers)

    answer = serving(sums, ask, max_body_bytes=2000 if len(body) < 100_000 else 200_000)
    problem = answer.json
    assert answer.status == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-envelope-id"] == sums.id
    assert says in problem["detail"] + json.dumps(problem.get("faults", []))
    assert "Traceback" not in answer.body.decode()


def test_every_fault_is_told_and_no_value(sums: me.Envelope) -> None:
    async def ask(client: Client) -> Answered:
        return await client.post("/v0/query", [{"x": "secret"}, {"x": 1, "y": [], "z": 1}])

    problem = serving(sums, ask).json
    places = {fault["path"]: (fault["expected"], fault["got"]) for fault in problem["faults"]}
    assert set(places) == {"rows[0].x", "rows[0].y", "rows[1].y", "rows[1].z"}
    assert places["rows[0].x"][1] == "str"
    assert "secret" not in json.dumps(problem)


def test_extra_columns_are_ignored_when_told_so(sums: me.Envelope) -> None:
    async def ask(client: Client) -> Answered:
        return await client.post("/v0/query", ROW | {"z": 1})

    assert serving(sums, ask, extra_columns="ignore").json == 6.0


def test_a_model_that_raises_is_a_500_with_an_id(
    sums: me.Envelope, caplog: pytest.LogCaptureFixture
) -> None:
    async def ask(client: Client) -> Answered:
        return await client.post("/v0/query", {"x": 13, "y": 0})

    with caplog.at_level(logging.ERROR):
        answer = serving(sums, ask)
    assert answer.status == 500
    assert "thirteen" not in answer.body.decode()
    error_id = answer.json["error_id"]
    (record,) = [one for one in caplog.records if error_id in one.getMessage()]
    assert record.exc_info is not None
    assert "thirteen is secret" in str(record.exc_info[1])


@pytest.mark.parametrize(
    "encoding, compress",
    [
        pytest.param("gzip", gzip.compress, id="gzip"),
        pytest.param("zstd", zstandard.ZstdCompressor().compress, id="zstd"),
        pytest.param("identity", bytes, id="identity"),
    ],
)
def test_compressed_bodies(sums: me.Envelope, encoding: str, compress: Any) -> None:
    async def ask(client: Client) -> Answered:
        body = compress(json.dumps(ROW).encode())
        return await client.ask("POST", "/v0/query", body, JSON | {"content-encoding": encoding})

    assert serving(sums, ask).json == 6.0


def test_a_body_in_parts_is_counted_while_it_comes(sums: me.Envelope) -> None:
    async def ask(client: Client) -> tuple[Answered, Answered]:
        body = json.dumps(ROW).encode()
        fits = await client.ask("POST", "/v0/query", [body[:5], body[5:]], JSON)
        return fits, await client.ask("POST", "/v0/query", [b" " * 800] * 3, JSON)

    fits, too_large = serving(sums, ask, max_body_bytes=2000)
    assert fits.json == 6.0
    assert too_large.status == 413


def test_every_caller_gets_its_own_rows(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Answered]:
        bodies = [[{"x": float(n), "y": 0.5}] * (n % 3 + 1) for n in range(100, 200)]
        return await asyncio.gather(*(client.post("/v0/query", body) for body in bodies))

    answers = serving(sums, ask)
    assert [a.json for a in answers] == [[2.0 * n + 1.0] * (n % 3 + 1) for n in range(100, 200)]


def test_a_row_that_breaks_the_model_fails_alone(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Answered]:
        rows = [{"x": 13.0 if n == 7 else n + 0.5, "y": 0.0} for n in range(20)]
        rows[3] = {"x": "no number", "y": 0.0}
        return await asyncio.gather(*(client.post("/v0/query", row) for row in rows))

    answers = serving(sums, ask)
    assert [n for n, answer in enumerate(answers) if answer.status != 200] == [3, 7]
    assert (answers[3].status, answers[7].status) == (400, 500)
    assert answers[8].json == 17.0


def test_bulk_answers_in_order_with_errors_in_place(sums: me.Envelope) -> None:
    async def ask(client: Client) -> Answered:
        members: list[Any] = [{"x": float(n), "y": 0.0} for n in range(150)]
        members[4] = {"x": "four"}
        members[13] = [{"x": 13.0, "y": 1.0}]
        members[70] = [ROW, ROW]
        return await client.post("/v0/query_bulk", members)

    answer = serving(sums, ask, max_queue=10)
    assert answer.status == 200
    assert len(answer.json) == 150
    assert answer.json[3] == {"output": 6.0}
    assert answer.json[4]["error"]["status"] == 400
    assert answer.json[13]["error"]["status"] == 500
    assert answer.json[70] == {"output": [6.0, 6.0]}
    assert answer.json[149] == {"output": 298.0}


def test_a_whole_frame_function_gives_one_output(home: Any) -> None:
    @as_if_in_a_notebook
    def mean(frame: pd.DataFrame) -> float:
        return float(np.mean(frame["x"]))

    saved = me.save_model(name="whole", query_function=mean, api_input=frame())

    async def ask(client: Client) -> Answered:
        assert not client.live.default.is_shared
        return await client.post("/v0/query", [{"x": 1.0, "y": 0.0}, {"x": 2.0, "y": 0.0}])

    assert serving(saved, ask).json == 1.5
