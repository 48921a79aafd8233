"""What strangers send, over a real socket: a reason with a 4xx, and a replica that goes on."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import cloudpickle
import pyarrow as pa
import pytest
import zstandard

from tests.integration.replica import shapes
from tests.served import Served, served
from tests.unit.runtime.conftest import options_for

JSON, CSV = "application/json", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
HEALTH_S = 1.0  # within which a health request is answered while LARGE bytes are read
# Parsing is on a thread, but one call of a C parser holds the interpreter: 95 MB for up to 1 s.
LARGE = 40_000_000

V0, BULK, MLFLOW, OIP = "/v0/query", "/v0/query_bulk", "/invocations", "/v2/models/ltv/infer"


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENVELOPE_HOME", str(tmp_path_factory.mktemp("bad") / "home"))
        cloudpickle.register_pickle_by_value(shapes)
        options = options_for(shapes.row_wise())
        cloudpickle.unregister_pickle_by_value(shapes)
        with served(options) as server:
            yield server


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes


def send(server: Served, path: str, headers: dict[str, str], body: bytes) -> Reply:
    """Send exactly these headers and bytes, and read the answer."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    opening = f"POST /ltv{path} HTTP/1.1\r\nHost: here\r\n{head}\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(opening + body)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return Reply(answer.status, answer.read())


def post(server: Served, path: str, content_type: str | None, body: bytes, **more: str) -> Reply:
    headers = {"Content-Length": str(len(body)), "Connection": "close", **more}
    if content_type is not None:
        headers["Content-Type"] = content_type
    return send(server, path, headers, body)


def arrow(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def declares_much(body: bytes) -> bytes:
    """A stream whose compressed buffer says that it holds 2**60 bytes."""
    zeros = arrow(pa.table({"age": pa.array([7] * 100_000)}), "zstd")
    size = struct.pack("<q", 800_000)
    assert size in zeros
    return zeros.replace(size, struct.pack("<q", 2**60)) + body


DEEP = b"[" * 100_000
DEEP_OBJECT = b'{"a":' * 100_000
HUGE = b'[{"age": ' + b"9" * 5000 + b"}]"
DICTIONARY = arrow(pa.table({"age": pa.array(["a", "b"] * 5).dictionary_encode()}))
ROWS = arrow(pa.table({"age": [1, 2, 3]}))

JSON_BODIES = {
    "malformed": b'{"x": 1',
    "empty": b"",
    "deep-list": DEEP,
    "deep-object": DEEP_OBJECT,
    "duplicate-keys": b'{"age": 1, "age": 2, "inputs": [], "inputs": []}',
    "nan": b'{"inputs": NaN}',
    "infinity": b"[-Infinity]",
    "huge-int": HUGE,
    "lone-surrogate": b'"\\ud800"',
    "surrogate-as-a-name": b'{"\\ud800": 1}',
    "not-utf-8": b'{"\xff": 1}',
    "utf-16": '{"x": 1}'.encode("utf-16"),
    "nul": b"\x00",
    "trailing": b"{} {}",
    "a-bare-number": b"1e999",
}


@pytest.mark.parametrize("path", [V0, BULK, MLFLOW, OIP])
@pytest.mark.parametrize("name", JSON_BODIES)
def test_json_that_is_none(replica: Served, path: str, name: str) -> None:
    reply = post(replica, path, JSON, JSON_BODIES[name])
    if path == BULK and reply.status == 200:  # each member has its own answer
        members = json.loads(reply.body)
        assert all(400 <= one["error"]["status"] < 500 for one in members)
    else:
        assert_refused(reply, 400)


TABLES = [
    pytest.param(CSV, b'age,income\n"1,2\n', 400, id="csv-open-quote"),
    pytest.param(CSV, b'age,income\n1,2"3"\n1\n', 400, id="csv-quote-inside"),
    pytest.param(CSV, b"", 400, id="csv-empty"),
    pytest.param(CSV, b"age,age\n1,2\n", 400, id="csv-two-of-a-name"),
    pytest.param(CSV, b"age\n" + b"9" * 5000 + b"\n", 400, id="csv-huge-int"),
    pytest.param(CSV, b"\xff\xfe", 400, id="csv-not-utf-8"),
    pytest.param(CSV, b"age\x00\n1\n", 400, id="csv-nul"),
    pytest.param(ARROW, b"", 400, id="arrow-empty"),
    pytest.param(ARROW, ROWS[:-40], 400, id="arrow-truncated"),
    pytest.param(ARROW, ROWS[: len(ROWS) // 2], 400, id="arrow-half"),
    pytest.param(ARROW, b"\xff\xff\xff\xff\xff\xff\xff\x7f" + ROWS, 400, id="arrow-long-message"),
    pytest.param(ARROW, declares_much(b""), 413, id="arrow-declares-2**60"),
    pytest.param(ARROW, DICTIONARY, 400, id="arrow-dictionary"),
    pytest.param(ARROW, DICTIONARY[:-200], 400, id="arrow-dictionary-truncated"),
    pytest.param(ARROW, b"{}", 400, id="arrow-that-is-json"),
]


@pytest.mark.parametrize("content_type, body, status", TABLES)
def test_tables_that_are_none(replica: Served, content_type: str, body: bytes, status: int) -> None:
    assert_refused(post(replica, V0, content_type, body), status)


@pytest.mark.parametrize("path", [V0, BULK, MLFLOW, OIP])
@pytest.mark.parametrize(
    "content_type, headers, body, status",
    [
        pytest.param("image/png", {}, b"{}", 415, id="another-type"),
        pytest.param("json", {}, b"{}", 415, id="no-type-at-all"),
        pytest.param(JSON + "; charset=koi8-r", {}, b"{}", 415, id="charset"),
        pytest.param(None, {}, b"age=1", 400, id="no-type-and-no-json"),
        pytest.param(JSON, {"Content-Encoding": "gzip"}, b"no gzip", 400, id="bad-gzip"),
        pytest.param(JSON, {"Content-Encoding": "zstd"}, b"no zstd", 400, id="bad-zstd"),
        pytest.param(JSON, {"Content-Encoding": "br"}, b"{}", 415, id="brotli"),
        pytest.param(
            JSON,
            {"Content-Encoding": "gzip"},
            gzip.compress(bytes(150_000_000), 1),
            413,
            id="gzip-bomb",
        ),
        pytest.param(
            JSON,
            {"Content-Encoding": "zstd"},
            zstandard.ZstdCompressor().compress(bytes(150_000_000)),
            413,
            id="zstd-bomb",
        ),
    ],
)
def test_headers_that_do_not_fit(
    replica: Served,
    path: str,
    content_type: str | None,
    headers: dict[str, str],
    body: bytes,
    status: int,
) -> None:
    assert_refused(post(replica, path, content_type, body, **headers), status)


@pytest.mark.parametrize("path", [V0, BULK, MLFLOW, OIP])
@pytest.mark.parametrize(
    "length, status",
    [
        pytest.param("many", 400, id="no-number"),
        pytest.param("-1", 400, id="negative"),
        pytest.param("1e9", 400, id="a-float"),
        pytest.param("9" * 30, 400, id="beyond-64-bits"),
        pytest.param("200000000", 413, id="200-mb"),
    ],
)
def test_content_length(replica: Served, path: str, length: str, status: int) -> None:
    """The answer comes before the body: none is ever sent."""
    reply = send(replica, path, {"Content-Type": JSON, "Content-Length": length}, b"[")
    assert reply.status == status
    assert reply.body


def assert_refused(reply: Reply, status: int) -> None:
    assert reply.status == status, reply.body[:300]
    told = json.loads(reply.body)
    assert told.get("detail") or told.get("error") or told.get("message")
    assert b"Traceback" not in reply.body


def large_rows() -> bytes:
    row = json.dumps(
        {
            "age": 20,
            "income": 1000.5,
            "visits": None,
            "plan": "plus",
            "since": "2024-01-31T08:00:00Z",
            "note": "n" * 400,
            "is_new": True,
        }
    ).encode()
    return b"[" + b",".join([row] * (LARGE // len(row))) + b"]"


@pytest.mark.parametrize(
    "path, content_type, wrap",
    [
        pytest.param(V0, JSON, b"%s", id="v0"),
        pytest.param(BULK, JSON, b"[%s]", id="bulk"),
        pytest.param(MLFLOW, JSON, b'{"dataframe_records": %s}', id="mlflow-records"),
        pytest.param(MLFLOW, JSON, b'{"instances": %s}', id="mlflow-instances"),
        pytest.param(OIP, JSON, b'{"inputs": [], "parameters": {"x": %s}}', id="oip"),
        pytest.param(V0, CSV, b"%s", id="csv"),
    ],
)
def test_health_is_answered_while_a_large_body_is_read(
    replica: Served, path: str, content_type: str, wrap: bytes
) -> None:
    body = wrap % large_rows()
    done: list[Reply] = []
    sending = threading.Thread(target=lambda: done.append(post(replica, path, content_type, body)))
    sending.start()
    slowest = 0.0
    while sending.is_alive():
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", replica.port, timeout=30)
        connection.request("GET", "/ltv/ping")
        assert connection.getresponse().status == 200
        connection.close()
        slowest = max(slowest, time.perf_counter() - began)
        time.sleep(0.01)
    assert done[0].status < 500, done[0].body[:300]
    assert slowest < HEALTH_S
