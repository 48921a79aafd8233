from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envelope as me
from ray_runtime.protocols.problem import Malformed
from ray_runtime.protocols.tensors import DTYPES, InputTensor, flatten, nest, read_tensor
from tests.unit.runtime.conftest import Answered, Client, as_if_in_a_notebook, serving

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
        pytest.param({"inputs": [X | {"data": [1]}]}, 400, "do not fill the shape", id="count"),
        pytest.param({"inputs": [X]}, 400, "neither data nor", id="no-data"),
        pytest.param(
            {"inputs": [X | {"datatype": "FP8", "data": [1, 2]}]}, 400, "no datatype", id="datatype"
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
            404,
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
        tensor = read_tensor(given_tensor, memoryview(raw))
    except Malformed:
        assert not fits
    else:
        assert fits
        assert tensor.values.tobytes() == raw
