"""MLflow models that are imported: by folder and by name, with an example, a signature, neither."""

import json
import pickle
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from click.testing import CliRunner
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

import envelope as me
from envelope.archive_commands import import_
from envelope.errors import DependencyError, SchemaError
from envelope.mlflow_model import import_mlflow

folder = Path(sys.argv[1])
X = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "b"])
model = LinearRegression().fit(X, 2 * X["a"] - X["b"])
signature = infer_signature(X, model.predict(X))


class Scaled(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] * (params or {"factor": 1.0})["factor"]


class Loud(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str], params=None) -> list[str]:
        return [text.upper() for text in model_input]


def fails(error, *words):
    try:
        import_mlflow(str(folder / words[0]))
    except error as exc:
        return all(word in str(exc) for word in words[1:])
    return False


mlflow.sklearn.save_model(
    model, folder / "example", signature=signature, input_example=X, metadata={"team": "ltv"}
)
mlflow.sklearn.save_model(model, folder / "signature", signature=signature)
mlflow.sklearn.save_model(model, folder / "bare")
mlflow.pyfunc.save_model(
    folder / "params",
    python_model=Scaled(),
    input_example=(X, {"factor": 2.0}),
    signature=infer_signature(X, X["a"], params={"factor": 2.0}),
)
mlflow.pyfunc.save_model(folder / "texts", python_model=Loud())
mlflow.sklearn.save_model(model, folder / "old", signature=signature)
(folder / "old" / "requirements.txt").write_text("scikit-learn==0.1\nno-such-thing==1\n")
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
with mlflow.start_run() as run:
    mlflow.log_param("fit_intercept", "True")
    mlflow.log_metric("val/auc", 0.9)
    mlflow.sklearn.log_model(model, name="ltv", input_example=X, registered_model_name="client_ltv")

asked = {
    "example": (str(folder / "example"), (X,)),
    "signature": (str(folder / "signature"), (X,)),
    "params": (str(folder / "params"), (X, 3.0)),
    "texts": (str(folder / "texts"), (["quiet"],)),
    "registered": ("models:/client_ltv/1", (X,)),
}
report = {}
for name, (address, arguments) in asked.items():
    done = CliRunner().invoke(import_, ["mlflow", address], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    envelope = me.get(done.stdout.splitlines()[-1].split()[0])
    names = ["inputs", "factor"][: len(arguments)]
    given = dict(zip(names, arguments, strict=True))
    theirs = mlflow.pyfunc.load_model(address)
    params = {"factor": given["factor"]} if "factor" in given else None
    answer = theirs.predict(arguments[0], params=params)
    (folder / f"{name}.pkl").write_bytes(pickle.dumps((given, answer)))
    report[name] = {
        "id": envelope.id,
        "parts": [],
        "packages": [package.name for package in envelope.manifest.environment.packages],
    }

registered = me.latest("name = 'client_ltv'")
with_example = me.latest("name = 'example'").functions["predict"]
with_signature = me.latest("name = 'signature'").functions["predict"]
claims = {
    "metadata are tags": me.latest("name = 'example'").tags["team"] == "ltv",
    "params of the run are hyperparameters": registered.manifest.hyperparameters
    == {"fit_intercept": "True"},
    "metrics of the run are metrics": registered.metrics() == {"val/auc": 0.9},
    "the run is a tag": registered.tags["mlflow.run_id"] == run.info.run_id,
    "a model of rows is row-wise": with_example.row_wise.is_row_wise,
    "both say the same of the input": with_example.schema == with_signature.schema,
    "nothing is kept of made-up input": with_signature.sample is None
    and with_signature.statistics == {},
    "parameters have their defaults": [
        one.default for one in me.latest("name = 'params'").functions["predict"].schema.parameters
    ][1:]
    == [2.0],
    "without a word of its input it is refused": fails(SchemaError, "bare", "input_example="),
    "all other versions are told": fails(
        DependencyError, "old", "scikit-learn==0.1: installed is", "no-such-thing==1: not"
    ),
}
(folder / "report.json").write_text(json.dumps({"models": report, "claims": claims}))
