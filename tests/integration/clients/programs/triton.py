"""Ask every model as a user of tritonclient does, and print what came back as JSON."""

import json
import sys

import numpy as np
import tritonclient.http as triton

urls = json.loads(sys.argv[1])
found = {}


def tensor(name, values, *, binary=True):
    values = np.asarray(values)
    made = triton.InferInput(name, list(values.shape), triton_type(values))
    made.set_data_from_numpy(values, binary_data=binary)
    return made


def triton_type(values):
    from tritonclient.utils import np_to_triton_dtype

    return np_to_triton_dtype(values.dtype)


def ask(model, inputs, **options):
    with triton.InferenceServerClient(urls[model]) as client:
        return client.infer(model, inputs, **options)


def refused(model, inputs, **options):
    try:
        ask(model, inputs, **options)
    except triton.InferenceServerException as exc:
        return [exc.status(), exc.message()]
    return "answered"


def about(model):
    with triton.InferenceServerClient(urls[model]) as client:
        metadata = client.get_model_metadata(model)
        version = metadata["versions"][0]
        return {
            "server": client.get_server_metadata(),
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "model ready": client.is_model_ready(model),
            "version ready": client.is_model_ready(model, version),
            "other ready": client.is_model_ready("other"),
            "other version ready": client.is_model_ready(model, "1"),
            "metadata": metadata,
            "metadata of version": client.get_model_metadata(model, version) == metadata,
        }


def no_such(model):
    with triton.InferenceServerClient(urls[model]) as client:
        try:
            client.get_model_metadata("other")
        except triton.InferenceServerException as exc:
            return [exc.status(), exc.message()]


def numbers(result):
    return result.as_numpy("output").tolist()


def column(result, name):
    return [
        one.decode() if isinstance(one, bytes) else one for one in result.as_numpy(name).tolist()
    ]


found["about"] = {model: about(model) for model in urls}
found["no such model"] = no_such("numbers")

x, y = np.array([1.0, 0.5]), np.array([2.0, 0.0])
both = [tensor("x", x), tensor("y", y)]
as_json = [tensor("x", x, binary=False), tensor("y", y, binary=False)]
found["numbers"] = {
    "binary": numbers(ask("numbers", both)),
    "json in": numbers(ask("numbers", as_json)),
    "json out": numbers(
        ask("numbers", both, outputs=[triton.InferRequestedOutput("output", binary_data=False)])
    ),
    "mixed": numbers(ask("numbers", [both[0], as_json[1]])),
    "columns of one": numbers(
        ask("numbers", [tensor("x", x.reshape(2, 1)), tensor("y", y.reshape(2, 1))])
    ),
    "matrix": numbers(ask("numbers", [tensor("any", np.stack([x, y], axis=1))])),
    "fp16": numbers(ask("numbers", [tensor("x", x.astype("f2")), tensor("y", y.astype("f2"))])),
    "int8": numbers(ask("numbers", [tensor("x", np.int8([1, 2])), tensor("y", np.int8([3, -4]))])),
    "gzip": numbers(ask("numbers", both, request_compression_algorithm="gzip")),
    "deflate, gzip back": numbers(
        ask(
            "numbers",
            both,
            request_compression_algorithm="deflate",
            response_compression_algorithm="gzip",
        )
    ),
}
echoed = ask("numbers", both, request_id="seven", parameters={"mine": 1}, timeout=9, priority=2)
found["response"] = {key: value for key, value in echoed.get_response().items() if key != "outputs"}
with triton.InferenceServerClient(urls["numbers"], concurrency=4) as client:
    waiting = [
        client.async_infer("numbers", [tensor("x", [float(n)]), tensor("y", [0.0])])
        for n in range(20)
    ]
    found["asynchronous"] = [one.get_result().as_numpy("output").tolist() for one in waiting]

names, ages = np.array(["Ann", "Zoë"], dtype=object), np.array([31, 44])
people = [
    tensor("name", names),
    tensor("age", ages),
    tensor("vip", np.array([True, False])),
    tensor("score", np.array([0.5, 1.5], dtype="f4")),
]
answer = ask("people", people)
found["people"] = {name: column(answer, name) for name in ("name", "age", "vip", "score")}
some = [
    triton.InferRequestedOutput("score"),
    triton.InferRequestedOutput("name", binary_data=False),
]
answer = ask("people", people, outputs=some)
found["people, two outputs"] = [one["name"] for one in answer.get_response()["outputs"]]
found["people, two outputs, values"] = [column(answer, "score"), column(answer, "name")]

rows = np.arange(6, dtype="f4").reshape(2, 3)
found["matrix"] = {
    "binary": numbers(ask("matrix", [tensor("matrix", rows)])),
    "json": numbers(ask("matrix", [tensor("matrix", rows, binary=False)])),
    "any name": numbers(ask("matrix", [tensor("input-0", rows)])),
    "fp16": numbers(ask("matrix", [tensor("matrix", rows.astype("f2"))])),
    "dtype": str(ask("matrix", [tensor("matrix", rows)]).as_numpy("output").dtype),
}
found["plain"] = {
    "all": column(
        ask(
            "plain",
            [
                tensor("text", np.array(["ab"], dtype=object)),
                tensor("times", np.array([3])),
                tensor("shout", np.array([True])),
            ],
        ),
        "output",
    ),
    "defaults": column(ask("plain", [tensor("text", np.array(["é"], dtype=object))]), "output"),
}
text = tensor("x", np.array(["1", "2"], dtype=object))
found["refused"] = {
    "name": refused("numbers", [both[0], tensor("z", y)]),
    "missing": refused("numbers", [both[0]]),
    "length": refused("numbers", [both[0], tensor("y", [1.0, 2.0, 3.0])]),
    "width": refused("numbers", [tensor("any", np.zeros((2, 3)))]),
    "datatype": refused("numbers", [text, both[1]]),
    "shape": refused("matrix", [tensor("matrix", np.zeros((2, 4), "f4"))]),
    "rank": refused("matrix", [tensor("matrix", np.zeros(3, "f4"))]),
    "lossy": refused("plain", [tensor("text", names[:1]), tensor("times", [1.5])]),
    "output": refused("numbers", both, outputs=[triton.InferRequestedOutput("nope")]),
    "version": refused("numbers", both, model_version="1"),
}
print(json.dumps(found))
