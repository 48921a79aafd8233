"""Ask every model as a user of MLflow's scoring client does, and MLflow's own server the same.

MLflow's server is the application that `mlflow models serve` runs, with the same functions.
"""

import gzip
import json
import logging
import sys
import tempfile
import threading
import time
import warnings

import functions
import mlflow
import numpy as np
import pandas as pd
import requests
import uvicorn
from fastapi import FastAPI
from mlflow.models import infer_signature
from mlflow.pyfunc import load_model
from mlflow.pyfunc.scoring_server import init
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
urls, bodies = json.loads(sys.argv[1]), json.loads(sys.argv[2])

NUMBERS = pd.DataFrame({"x": [0.0, 0.25], "y": [0.5, 1.5]})
PEOPLE = pd.DataFrame(
    {
        "name": ["Ann", "Zoë"],
        "age": [31, 44],
        "vip": [True, False],
        "score": np.array([0.5, 1.5], dtype="float32"),
    }
)
MATRIX = np.arange(6, dtype="float32").reshape(2, 3)
FUNCTIONS = {"numbers": functions.weigh, "people": functions.greet, "matrix": functions.double}
EXAMPLES = {"numbers": NUMBERS, "people": PEOPLE, "matrix": MATRIX}


class Model(mlflow.pyfunc.PythonModel):
    def __init__(self, function):
        self.function = function

    def predict(self, context, model_input, params=None):
        return self.function(model_input)


def peer():
    """Serve the same functions by MLflow's own application; return host:port."""
    app = FastAPI()
    for name, function in FUNCTIONS.items():
        folder = f"{tempfile.mkdtemp()}/{name}"
        example = EXAMPLES[name]
        mlflow.pyfunc.save_model(
            folder,
            python_model=Model(function),
            signature=infer_signature(example, function(example)),
            pip_requirements=["mlflow"],
        )
        app.mount(f"/{name}", init(load_model(folder)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def client(url):
    host, _, rest = url.partition(":")
    return ScoringServerClient(host, rest)


def predictions(url, data, params=None):
    return client(url).invoke(data, params=params).get_predictions(predictions_format="ndarray")


def raw(url, body, media="application/json", **headers):
    body = body.encode() if isinstance(body, str) else body
    answer = requests.post(
        f"http://{url}/invocations", data=body, headers={"Content-Type": media, **headers}
    )
    return [answer.status_code, answer.json() if answer.text[:1] in "[{" else answer.text]


found = {"probes": {}, "raw": {}, "peer": {}}
for name, url in urls.items():
    client(url).ping()
    client(url).wait_server_ready(timeout=5)
    health = requests.get(f"http://{url}/health")
    found["probes"][name] = [health.status_code, health.text, client(url).get_version()]
found["numbers"] = np.ravel(predictions(urls["numbers"], NUMBERS)).tolist()
found["people"] = client(urls["people"]).invoke(PEOPLE).get_predictions().to_dict(orient="list")
found["matrix"] = predictions(urls["matrix"], MATRIX).tolist()
found["plain"] = json.loads(
    client(urls["plain"])
    .invoke(pd.DataFrame({"text": ["ab"]}), params={"times": 3, "shout": True})
    .to_json()
)
theirs = peer()
for label, (model, body, media) in bodies.items():
    found["raw"][label] = raw(urls[model], body, media)
    found["peer"][label] = raw(f"{theirs}/{model}", body, media) if model in FUNCTIONS else None
body = json.dumps({"dataframe_split": NUMBERS.to_dict(orient="split")})
found["gzip"] = raw(urls["numbers"], gzip.compress(body.encode()), **{"Content-Encoding": "gzip"})
found["not acceptable"] = raw(urls["numbers"], body, Accept="text/csv")[0]
found["no media type"] = requests.post(
    f"http://{urls['numbers']}/invocations", data=body.encode()
).json()
print(json.dumps(found))
