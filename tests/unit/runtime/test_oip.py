from __future__ import annotations

import asyncio
import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import envelope as me
from ray_runtime.protocols.problem import Malformed
from ray_runtime.protocols.tensors import DTYPES, InputTensor, flatten, nest, read_array
from tests.unit.runtime.conftest import Answered, Client, as_if_in_a_notebook, frame, serving

INFER = "/v2/models/ltv/infer"
X = {"name": "x", "shape": [2], "datatype": "FP64"}
Y = {"name": "y", "shape": [2], "datatype": "FP64"}


def infer(envelope: me.Envelope, body: Any, path: str = INFER, **headers: str) -> Answered:
    async def ask(client: Client) -> Answered:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await client.ask("POST", path, raw, headers)

    return serving(envelope, ask)


def binary(request: dict[str, Any], *parts: bytes) -> tuple[bytes, dict[str, str]]:
    """A body with bytes after the JSON, and its headers."""
    text = json.dumps(request).encode()
    headers = {
        "inference-header-content-length": str(len(text)),
        "content-type": "application/octet-stream",
    }
    return b"".join([text, *parts]), headers


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param([X | {"data": [1, 0.5]}, Y | {"data": [2, 0]}], id="a-tensor-per-column"),
        pytest.param(
            [
                X | {"shape": [2, 1], "data": [[1], [0.5]]},
                Y | {"shape": [2, 1], "data": [2, 0]},
            ],
            id="columns-of-one-as-mlserver-sends-them",
        ),
        pytest.param(
            [{"name": "m", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 0.5, 0]}],
            id="one-matrix-flat",
        ),
        pytest.param(
            [{"name": "m", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [0.5, 0]]}],
            id="one-matrix-nested",
        ),
    ],
)
def test_a_frame(sums: me.Envelope, inputs: Any) -> None:
    answer = infer(sums, {"id": "7", "inputs": inputs, "unknown": {"kept": False}})
    assert answer.status == 200
    assert answer.json == {
        "model_name": "ltv",
        "model_version": sums.id,
        "id": "7",
        "outputs": [{"name": "output", "datatype": "FP64", "shape": [2], "data": [6.0, 1.0]}],
    }


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "UINT64"])
def test_bytes_in_and_out(sums: me.Envelope, datatype: str) -> None:
    x, y = (np.array(values, DTYPES[datatype]).tobytes() for values in ([1, 3], [2, 0]))
    request = {
        "inputs": [
            {
                "name": name,
                "shape": [2],
                "datatype": datatype,
                "parameters": {"binary_data_size": len(x)},
            }
            for name in ("x", "y")
        ],
        "outputs": [{"name": "output", "parameters": {"binary_data": True}}],
    }
    body, headers = binary(request, x, y)
    answer = infer(sums, body, **headers)
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    (output,) = json.loads(answer.body[:length])["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(answer.body[length:]).tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    "body, status, says",
    [
        pytest.param(b"no json", 400, "no inference request", id="not-json"),
        pytest.param(
            {"inputs": [X | {"data": [1]}, Y | {"data": [1]}]},
            400,
            "do not fill the shape",
            id="count",
        ),
        pytest.param({"inputs": [X]}, 400, "neither data nor", id="no-data"),
        pytest.param(
            {"inputs": [X | {"datatype": "FP8", "data": [1, 2]}]},
            400,
            "no such datatype",
            id="datatype",
        ),
        pytest.param(
            {"inputs": [X | {"data": [1, 2]}] * 2}, 400, "two inputs have one name", id="twice"
        ),
        pytest.param(
            {"inputs": [X | {"data": ["secret", 1]}, Y | {"data": [1, 2]}]}, 400, "x[0]", id="type"
        ),
        pytest.param(
            {"inputs": [{"name": "m", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}]},
            400,
            "3 columns, the frame 2",
            id="matrix-of-another-width",
        ),
        pytest.param(
            {
                "inputs": [X | {"data": [1, 2]}, Y | {"data": [1, 2]}],
                "outputs": [{"name": "nope"}],
            },
            400,
            "there is output",
            id="no-such-output",
        ),
        pytest.param(
            {"inputs": [X | {"parameters": {"binary_data_size": 99}}]},
            400,
            "binary_data_size",
            id="bytes-that-are-not-there",
        ),
    ],
)
def test_errors_are_in_this_protocols_form(
    sums: me.Envelope, body: Any, status: int, says: str
) -> None:
    answer = infer(sums, body)
    assert answer.status == status
    assert says in answer.json["error"]
    assert "secret" not in answer.body.decode()


@pytest.mark.parametrize(
    "accept, binary_data, status, media_type",
    [
        ("*/*", None, 200, "application/json"),
        ("application/json", None, 200, "application/json"),
        ("application/octet-stream", None, 200, "application/octet-stream"),
        ("application/octet-stream", False, 406, "application/json"),
        ("application/json", True, 406, "application/json"),
        ("application/json, application/octet-stream", True, 200, "application/octet-stream"),
        ("text/csv", None, 406, "application/json"),
    ],
)
def test_accept_is_honoured(
    sums: me.Envelope, accept: str, binary_data: bool | None, status: int, media_type: str
) -> None:
    parameters = {} if binary_data is None else {"binary_data": binary_data}
    outputs = [{"name": "output", "parameters": parameters}]
    inputs = [X | {"data": [1, 2]}, Y | {"data": [0, 0]}]
    answer = infer(sums, {"inputs": inputs, "outputs": outputs}, accept=accept)
    assert (answer.status, answer.headers["content-type"]) == (status, media_type)
    if status == 406:
        assert "Accept" in answer.json["error"]


@pytest.mark.parametrize(
    "method, path, status, says",
    [
        ("GET", "/v2/models/other", 404, "there is no such path"),
        ("POST", "/v2/models/ltv/versions/1/infer", 404, "there is no such path"),
        ("GET", INFER, 405, "takes POST, not GET"),
    ],
)
def test_where_there_is_nothing_its_clients_read_why(
    sums: me.Envelope, method: str, path: str, status: int, says: str
) -> None:
    async def ask(client: Client) -> Answered:
        return await client.ask(method, path)

    answer = serving(sums, ask)
    assert answer.status == status
    assert says in answer.json["error"]


TENSOR = '"name": "a", "shape": [1], "datatype": "INT64"'
B = '{"name": "b", "shape": [1], "datatype": "INT64", "data": [1]}'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"inputs": [{%s, "data": [1]}], "inputs": [B]}', id="inputs"),
        pytest.param('{"inputs": [{%s, "data": [1], "data": [2]}, B]}', id="data"),
        pytest.param('{"inputs": [{%s, "d\\u0061ta": [1], "data": [2]}, B]}', id="escaped"),
        pytest.param('{"id": "1", "id": "2", "inputs": [{%s, "data": [1]}, B]}', id="id"),
        pytest.param('{"inputs": [{%s, "data": [{"a": 1, "a": 2}]}, B]}', id="in-a-value"),
        pytest.param(
            '{"inputs": [{%s, "data": [1], "parameters": {"x": 1, "x": 2}}, B]}', id="parameters"
        ),
    ],
)
def test_two_members_of_one_name_are_refused(adding: me.Envelope, body: str) -> None:
    answer = infer(adding, (body % TENSOR).replace("B]", B + "]").encode())
    assert answer.status == 400
    assert "two members of one name" in answer.json["error"]


def test_null_members_are_absent_ones(sums: me.Envelope) -> None:
    nulls = {"id": None, "parameters": None, "outputs": None}
    inputs = [X | {"data": [1, 2], "parameters": None}, Y | {"data": [0, 0]}]
    assert infer(sums, {"inputs": inputs} | nulls).json["outputs"][0]["data"] == [2.0, 4.0]


@pytest.mark.parametrize(
    "encoding, pack",
    [("gzip", gzip.compress), ("zstd", zstandard.compress), ("deflate", zlib.compress)],
)
def test_compressed_bodies(sums: me.Envelope, encoding: str, pack: Any) -> None:
    x = np.array([1.0, 0.5]).tobytes()
    size = {"binary_data_size": len(x)}
    body, headers = binary({"inputs": [X | {"parameters": size}, Y | {"data": [2, 0]}]}, x)
    answer = infer(sums, pack(body), **headers, **{"content-encoding": encoding})
    assert answer.json["outputs"][0]["data"] == [6.0, 1.0]


@pytest.mark.parametrize("rows", [2, 2000], ids=["few", "many"])
def test_infinity_comes_in_as_bytes(home: Any, rows: int) -> None:
    def is_infinite(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.isinf(frame["x"].to_numpy())

    saved = me.save_model(
        name="m", query_function=as_if_in_a_notebook(is_infinite), api_input=frame()
    )
    size = {"binary_data_size": 8 * rows}
    inputs = [one | {"shape": [rows], "parameters": size} for one in (X, Y)]
    x, y = np.full(rows, np.inf), np.zeros(rows)
    body, headers = binary({"inputs": inputs}, x.tobytes(), y.tobytes())
    assert infer(saved, body, **headers).json["outputs"][0]["data"] == [True] * rows


@pytest.mark.parametrize("length", ["0", "-1", "9999", "x"])
def test_a_wrong_header_length_is_refused(sums: me.Envelope, length: str) -> None:
    answer = infer(sums, {"inputs": []}, **{"inference-header-content-length": length})
    assert answer.status == 400
    assert "Inference-Header-Content-Length" in answer.json["error"]


def test_parameters_are_tensors_of_one(adding: me.Envelope) -> None:
    inputs = [
        {"name": "a", "shape": [1], "datatype": "INT64", "data": [3]},
        {"name": "b", "shape": [1, 1], "datatype": "INT64", "data": [[4]]},
    ]
    assert infer(adding, {"inputs": inputs}).json["outputs"] == [
        {"name": "output", "datatype": "INT64", "shape": [1], "data": [7]}
    ]


def test_texts_and_frames_out(home: Any) -> None:
    people = pd.DataFrame({"name": ["Ann", "Bob"] * 5, "age": range(10)})

    @as_if_in_a_notebook
    class Greet:
        def predict(self, frame):  # type: ignore[no-untyped-def] # its example says it
            return pd.DataFrame({"hello": "Hi " + frame["name"], "next": frame["age"] + 1})

    saved = me.save_model(name="m", model=Greet(), query_function="predict", api_input=people)
    text = "Zoë".encode()
    raw = struct.pack("<I", len(text)) + text
    request = {
        "inputs": [
            {
                "name": "name",
                "shape": [1],
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(raw)},
            },
            {"name": "age", "shape": [1], "datatype": "INT64", "data": [41]},
        ],
        "outputs": [{"name": "next"}, {"name": "hello", "parameters": {"binary_data": True}}],
    }
    body, headers = binary(request, raw)
    answer = infer(saved, body, **headers)
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.body[:length])["outputs"]
    assert outputs[0] == {"name": "next", "datatype": "INT64", "shape": [1], "data": [42]}
    assert answer.body[length + 4 :].decode() == "Hi Zoë"


def test_a_matrix_model(home: Any) -> None:
    @as_if_in_a_notebook
    class Twice:
        def predict(self, x):  # type: ignore[no-untyped-def] # its example says it
            return x * 2

    example = np.ones((3, 4), dtype="float32")
    saved = me.save_model(name="m", model=Twice(), query_function="predict", api_input=example)

    async def ask(client: Client) -> tuple[Answered, Answered]:
        metadata = await client.ask("GET", "/v2/models/ltv")
        tensor = {"name": "any", "shape": [1, 4], "datatype": "FP32", "data": [[1, 2, 3, 4]]}
        return metadata, await client.ask("POST", INFER, json.dumps({"inputs": [tensor]}).encode())

    metadata, answer = serving(saved, ask)
    assert metadata.json["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert answer.json["outputs"] == [
        {"name": "output", "datatype": "FP32", "shape": [1, 4], "data": [2.0, 4.0, 6.0, 8.0]}
    ]


ODD = {"text": ["a", None], "list": [[1, 2], []], "raw": [b"\xff\x00", b""]}


@pytest.fixture
def odd(home: Any) -> me.Envelope:
    """A model of columns that have no datatype of their own; it answers what it got."""

    def same(frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    example = pd.DataFrame({name: cells * 5 for name, cells in ODD.items()}, dtype=object)
    return me.save_model(
        name="m", query_function=as_if_in_a_notebook(same), api_input=example, api_output=example
    )


@pytest.mark.parametrize(
    "parameters", [{}, {"content_type": "pd_json"}], ids=["plain", "as-mlserver-writes-them"]
)
def test_what_has_no_datatype_is_json_in_a_text(odd: me.Envelope, parameters: Any) -> None:
    bytes_2 = {"shape": [2], "datatype": "BYTES"}
    inputs = [
        {"name": "text", "data": ["a", None], **bytes_2},
        {"name": "list", "data": ["[1,2]", "[]"], "parameters": parameters, **bytes_2},
        {"name": "raw", "data": ["/wA=", ""], **bytes_2},
    ]
    found = infer(odd, {"inputs": inputs}).json["outputs"]
    assert {one["name"]: one["data"] for one in found} == {
        one["name"]: one["data"] for one in inputs
    }


def test_bytes_travel_as_they_are_and_null_only_in_json(odd: me.Envelope) -> None:
    raw = struct.pack("<I", 2) + b"\xff\x00" + struct.pack("<I", 0)
    bytes_2 = {"shape": [2], "datatype": "BYTES"}
    request = {
        "inputs": [
            {"name": "text", "data": ["a", None], **bytes_2},
            {"name": "list", "data": [[1, 2], []], **bytes_2},
            {"name": "raw", "parameters": {"binary_data_size": len(raw)}, **bytes_2},
        ],
        "outputs": [{"name": "raw", "parameters": {"binary_data": True}}],
    }
    body, headers = binary(request, raw)
    answer = infer(odd, body, **headers)
    assert answer.body[int(answer.headers["inference-header-content-length"]) :] == raw
    request["outputs"] = [{"name": "text", "parameters": {"binary_data": True}}]
    body, headers = binary(request, raw)
    answer = infer(odd, body, **headers)
    assert answer.status == 406
    assert "null" in answer.json["error"]


def test_an_array_of_texts_keeps_its_shape(home: Any) -> None:
    @as_if_in_a_notebook
    class Upper:
        def predict(self, x):  # type: ignore[no-untyped-def] # its example says it
            return np.char.upper(x)

    example = np.array([["a", "b"], ["c", "d"]])
    saved = me.save_model(name="m", model=Upper(), query_function="predict", api_input=example)
    tensor = {"name": "x", "shape": [1, 2], "datatype": "BYTES", "data": ["e", "é"]}
    assert infer(saved, {"inputs": [tensor]}).json["outputs"] == [
        {"name": "output", "datatype": "BYTES", "shape": [1, 2], "data": ["E", "É"]}
    ]


def test_a_model_may_write_into_the_array_that_it_gets(home: Any) -> None:
    @as_if_in_a_notebook
    class Negate:
        def predict(self, x):  # type: ignore[no-untyped-def] # its example says it
            x *= -1
            return x

    example = np.ones((3, 2), dtype="float32")
    saved = me.save_model(name="m", model=Negate(), query_function="predict", api_input=example)
    raw = np.ones((1, 2), dtype="float32").tobytes()
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
    body, headers = binary({"inputs": [tensor | {"parameters": {"binary_data_size": 8}}]}, raw)
    assert infer(saved, body, **headers).json["outputs"][0]["data"] == [-1.0, -1.0]


def test_metadata_and_health(sums: me.Envelope) -> None:
    async def ask(client: Client) -> dict[str, Any]:
        version = f"/v2/models/ltv/versions/{sums.id}"
        paths = ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/ltv", f"{version}/ready")
        answers = {path: await client.ask("GET", path) for path in paths}
        assert {answer.status for answer in answers.values()} == {200}
        tensor = {"name": "m", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
        by_version = await client.ask(
            "POST", f"{version}/infer", json.dumps({"inputs": [tensor]}).encode()
        )
        assert by_version.json["outputs"][0]["data"] == [6.0]
        assert (await client.ask("GET", "/v2/models/other")).status == 404
        return {path.rpartition("/")[2]: answer.json for path, answer in answers.items()}

    found = serving(sums, ask)
    assert found["v2"]["extensions"] == ["binary_tensor_data"]
    assert found["live"] == {"live": True, "ready": True}
    assert found["ltv"]["versions"] == [sums.id]
    assert [one["name"] for one in found["ltv"]["inputs"]] == ["x", "y"]


def test_callers_share_calls_here_too(sums: me.Envelope) -> None:
    async def ask(client: Client) -> list[Any]:
        bodies = [
            {
                "id": str(n),
                "inputs": [
                    {"name": "m", "shape": [2, 2], "datatype": "FP64", "data": [n, 0, n, 1]}
                ],
            }
            for n in range(20, 90)
        ]
        answers = await asyncio.gather(
            *(client.ask("POST", INFER, json.dumps(body).encode()) for body in bodies)
        )
        return [(a.json["id"], a.json["outputs"][0]["data"]) for a in answers]

    assert serving(sums, ask) == [(str(n), [2.0 * n, 2.0 * n + 2.0]) for n in range(20, 90)]


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(SHAPES)
def test_flat_and_nested_are_one(shape: list[int]) -> None:
    flat = list(range(int(np.prod(shape))))
    nested = nest(flat, shape)
    assert np.array(nested).shape == tuple(shape)
    assert flatten(nested, len(shape)) == flatten(flat, len(shape)) == flat


@given(st.sampled_from(sorted(DTYPES)), SHAPES, st.binary(max_size=64))
def test_any_bytes_are_a_tensor_or_malformed(datatype: str, shape: list[int], raw: bytes) -> None:
    given_tensor = InputTensor(name="x", shape=shape, datatype=datatype)
    fits = len(raw) == np.prod(shape) * DTYPES[datatype].itemsize
    try:
        values = read_array(given_tensor, memoryview(raw))
    except Malformed:
        assert not fits
    else:
        assert fits
        assert values.tobytes() == raw
