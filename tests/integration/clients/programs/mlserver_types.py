"""Ask two models by MLServer's own types and codecs; print what came back as JSON."""

import json
import sys

import numpy as np
import pandas as pd
import requests
from mlserver.codecs import NumpyRequestCodec, PandasCodec
from mlserver.types import InferenceResponse, MetadataModelResponse, MetadataServerResponse

urls = json.loads(sys.argv[1])


def ask(model, request):
    answer = requests.post(
        f"http://{urls[model]}/v2/models/{model}/infer",
        data=request.model_dump_json(),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200, answer.text
    return InferenceResponse.model_validate_json(answer.text)


people = pd.DataFrame(
    {
        "name": np.array(["Ann", "Zoë"], dtype=object),
        "age": [31, 44],
        "vip": [True, False],
        "score": np.array([0.5, 1.5], dtype="float32"),
    }
)
matrix = np.arange(6, dtype="float32").reshape(2, 3)
answered = PandasCodec.decode_response(
    ask("people", PandasCodec.encode_request(people, use_bytes=False))
)
doubled = NumpyRequestCodec.decode_response(ask("matrix", NumpyRequestCodec.encode_request(matrix)))
base = f"http://{urls['people']}/v2"
server = MetadataServerResponse.model_validate_json(requests.get(base).text)
model = MetadataModelResponse.model_validate_json(requests.get(f"{base}/models/people").text)
print(
    json.dumps(
        {
            "people": answered.to_dict(orient="list"),
            "matrix": doubled.tolist(),
            "server": server.name,
            "model": [one.name for one in model.inputs],
        }
    )
)
