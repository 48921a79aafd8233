"""Ask every model as a user of KServe's InferenceRESTClient does; print what came back as JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

urls = json.loads(sys.argv[1])


def tensor(name, values, datatype, *, binary=True):
    values = np.asarray(values)
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=binary)
    return made


async def ask(client, model, inputs, **options):
    request = InferRequest(model_name=model, infer_inputs=inputs, **options)
    return await client.infer(f"http://{urls[model]}", request, model_name=model)


def numbers(response):
    return response.outputs[0].as_numpy().tolist()


async def about(client, model):
    base = f"http://{urls[model]}"
    return [
        await client.is_server_live(base),
        await client.is_server_ready(base),
        await client.is_model_ready(base, model),
        await client.is_model_ready(base, "other"),
    ]


async def refused(client, model, inputs, **options):
    try:
        await ask(client, model, inputs, **options)
    except httpx.HTTPStatusError as exc:
        return [exc.response.status_code, exc.response.json()["error"], str(exc)]
    return "answered"


async def main():
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    found = {"about": {model: await about(client, model) for model in urls}}
    x, y = np.array([1.0, 0.5]), np.array([2.0, 0.0])
    both = [tensor("x", x, "FP64"), tensor("y", y, "FP64")]
    as_json = [tensor(n, v, "FP64", binary=False) for n, v in (("x", x), ("y", y))]
    small = [tensor(n, v.astype("f2"), "FP16") for n, v in (("x", x), ("y", y))]
    as_bytes = [RequestedOutput("output", {"binary_data": True})]
    found["numbers"] = {
        "binary": numbers(await ask(client, "numbers", both)),
        "json": numbers(await ask(client, "numbers", as_json)),
        "fp16": numbers(await ask(client, "numbers", small)),
        "binary out": numbers(await ask(client, "numbers", both, request_outputs=as_bytes)),
        "all binary out": numbers(
            await ask(client, "numbers", as_json, parameters={"binary_data_output": True})
        ),
        "matrix": numbers(
            await ask(client, "numbers", [tensor("any", np.stack([x, y], axis=1), "FP64")])
        ),
        "dict": numbers(
            await client.infer(
                f"http://{urls['numbers']}",
                {
                    "inputs": [
                        {"name": "any", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 0.5, 0]}
                    ]
                },
                model_name="numbers",
            )
        ),
    }
    response = await ask(client, "numbers", both, request_id="seven")
    found["response"] = [response.id, response.model_name]
    names = np.array(["Ann", "Zoë"], dtype=object)
    people = [
        tensor("name", names, "BYTES"),
        tensor("age", np.array([31, 44]), "INT64"),
        tensor("vip", np.array([True, False]), "BOOL"),
        tensor("score", np.array([0.5, 1.5], "f4"), "FP32"),
    ]
    answer = await ask(client, "people", people)
    found["people"] = {one.name: one.data for one in answer.outputs}
    rows = np.arange(6, dtype="f4").reshape(2, 3)
    found["matrix"] = {
        "binary": numbers(await ask(client, "matrix", [tensor("matrix", rows, "FP32")])),
        "json": numbers(
            await ask(client, "matrix", [tensor("matrix", rows, "FP32", binary=False)])
        ),
        "fp16": numbers(await ask(client, "matrix", [tensor("matrix", rows.astype("f2"), "FP16")])),
    }
    plain = [
        tensor("text", np.array(["ab"], dtype=object), "BYTES"),
        tensor("times", np.array([3]), "INT64"),
    ]
    found["plain"] = (await ask(client, "plain", plain)).outputs[0].data
    found["refused"] = {
        "name": await refused(client, "numbers", [both[0], tensor("z", y, "FP64")]),
        "shape": await refused(client, "matrix", [tensor("matrix", rows[:, :2], "FP32")]),
        "datatype": await refused(
            client, "numbers", [tensor("x", np.array([True, True]), "BOOL"), both[1]]
        ),
        "output": await refused(client, "numbers", both, request_outputs=[RequestedOutput("nope")]),
    }
    print(json.dumps(found))


asyncio.run(main())
