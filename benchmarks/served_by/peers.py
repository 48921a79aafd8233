"""The peers' servers: each in its own environment, with the batching that it has switched on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from peers import peer_python, version_in

from served_by import questions as q
from served_by.process import Server, free_port, run, server
from served_by.questions import Target

LARGE = (1,)  # clients of a large frame as JSON or CSV at a peer, which takes seconds over one


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A running peer. server: to be paused while others are asked; None when it then rests."""

    targets: list[Target]
    version: str
    server: Server | None = None


Start: TypeAlias = Callable[[], AbstractContextManager[Peer]]


def _peer(python: Path, distribution: str, *targets: Target, server: Server | None = None) -> Peer:
    version = f"{distribution} {version_in(python, distribution)}"
    return Peer(targets=list(targets), version=version, server=server)


@contextmanager
def mlflow() -> Iterator[Peer]:
    """`mlflow models serve`. It has no batching and reads no Arrow."""
    python = peer_python("mlflow", "mlflow==3.17.2")
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder) / "model")
        run(python, "mlflow_model.py", model)
        port = free_port()
        command = [str(python), "-m", "mlflow", "models", "serve", "-m", model, "-p", str(port)]
        with server([*command, "--env-manager", "local", "-h", "127.0.0.1"], python):
            common: dict[str, Any] = {
                "url": f"http://127.0.0.1:{port}/invocations",
                "numbers": lambda body: json.loads(body)["predictions"],
            }
            targets = [
                Target(
                    name="mlflow models serve",
                    kind="frame",
                    questions=q.row_questions(lambda row: {"dataframe_records": [row]}),
                    **common,
                ),
                Target(
                    name="mlflow models serve",
                    kind="json rows",
                    questions=q.rows_question(1_000, q.dataframe_split),
                    **common,
                ),
                Target(
                    name="mlflow models serve, JSON",
                    kind="arrow rows",
                    questions=q.rows_question(100_000, q.dataframe_split),
                    clients=LARGE,
                    **common,
                ),
                Target(
                    name="mlflow models serve, CSV",
                    kind="arrow rows",
                    questions=q.rows_question(100_000, q.csv),
                    headers={"Content-Type": q.CSV},
                    clients=LARGE,
                    **common,
                ),
            ]
            yield _peer(python, "mlflow", *targets)


@contextmanager
def fastapi() -> Iterator[Peer]:
    """FastAPI and one uvicorn worker, written by hand."""
    python = peer_python("fastapi", "fastapi", "uvicorn[standard]", "pandas")
    port = free_port()
    command = [str(python), "-m", "uvicorn", "fastapi_app:app", "--port", str(port)]
    with server([*command, "--no-access-log", "--log-level", "warning"], python):
        url = f"http://127.0.0.1:{port}"
        asked = {
            "frame": q.row_questions(),
            "numpy": q.numpy_questions(),
            "primitives": q.primitive_questions(),
        }
        targets = [
            Target(name="FastAPI by hand", kind=kind, url=f"{url}/{kind}", questions=questions)
            for kind, questions in asked.items()
        ]
        yield _peer(python, "fastapi", *targets)


@contextmanager
def litserve() -> Iterator[Peer]:
    """LitServe: one worker, up to 64 requests in a call, nobody waits for company."""
    python = peer_python("litserve", "litserve==0.2.19", "pandas")
    port = free_port()
    with server([str(python), "litserve_app.py", str(port)], python) as started:
        url = f"http://127.0.0.1:{port}/predict"
        target = Target(name="LitServe", kind="frame", url=url, questions=q.row_questions())
        yield _peer(python, "litserve", target, server=started)


@contextmanager
def bentoml() -> Iterator[Peer]:
    """BentoML: one worker, batchable, up to 64 requests in a call."""
    python = peer_python("bentoml", "bentoml==1.4.40", "pandas")
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        command = ["-m", "bentoml", "serve", "bentoml_app:Frame", "--port", str(port)]
        env = {
            "BENTOML_HOME": home,
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_CONFIG_OPTIONS": "api_server.logging.access.enabled=false",
        }
        with server([str(python), *command, "--host", "127.0.0.1"], python, env=env):
            target = Target(
                name="BentoML",
                kind="frame",
                url=f"http://127.0.0.1:{port}/predict",
                questions=q.row_questions(lambda row: {"rows": [row]}),
            )
            yield _peer(python, "bentoml", target)


@contextmanager
def mlserver() -> Iterator[Peer]:
    """MLServer: its own sklearn runtime on DataFrames, adaptive batching on."""
    python = peer_python("mlserver", "mlserver==1.7.1", "mlserver-sklearn==1.7.1", "pandas")
    with tempfile.TemporaryDirectory() as folder:
        run(python, "mlserver_model.py", str(Path(folder) / "model.joblib"))
        port = free_port()
        (Path(folder) / "model-settings.json").write_text(
            json.dumps(
                {
                    "name": "frame",
                    "implementation": "mlserver_sklearn.SKLearnModel",
                    "parameters": {"uri": "./model.joblib"},
                    "max_batch_size": 64,
                    "max_batch_time": 0.002,  # s, as LitServe has
                }
            )
        )
        env = {
            "MLSERVER_DEBUG": "false",
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_PARALLEL_WORKERS": "0",  # in the server's own process, with no queue between
            "MLSERVER_HTTP_PORT": str(port),
            "MLSERVER_GRPC_PORT": str(free_port()),
            "MLSERVER_METRICS_PORT": str(free_port()),
        }
        program = str(python.parent / "mlserver")
        with server([program, "start", folder], python, folder=Path(folder), env=env):
            target = Target(
                name="MLServer",
                kind="frame",
                url=f"http://127.0.0.1:{port}/v2/models/frame/infer",
                questions=q.row_questions(_infer_request),
                numbers=lambda body: json.loads(body)["outputs"][0]["data"],
            )
            yield _peer(python, "mlserver", target)


def _infer_request(row: dict[str, float]) -> Any:
    inputs = [
        {"name": name, "shape": [1, 1], "datatype": "FP64", "data": [value]}
        for name, value in row.items()
    ]
    return {"parameters": {"content_type": "pd"}, "inputs": inputs}


PEERS: tuple[Start, ...] = (mlflow, fastapi, litserve, bentoml, mlserver)
