"""Deployments on a platform of their own, and a replica by hand beside them."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from served_by import questions as q
from served_by.peers import Peer
from served_by.questions import ARROW, Target, served

OURS, ALONE, BY_HAND = "a deployment", "a deployment, batching none", "a replica by hand"
PORTS = ("SERVE", "API", "JOB", "RAY", "HAPROXY_STATS", "HAPROXY_METRICS")


@contextmanager
def platform() -> Iterator[Peer]:
    """Start a platform beside any that runs already: its own home, its own ports."""
    from envelope.settings import Settings
    from ray_runtime import cluster
    from ray_runtime.ports import free_ports

    with tempfile.TemporaryDirectory(prefix="serving-") as home:
        os.environ["ENVELOPE_HOME"] = home
        for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
            os.environ[f"ENVELOPE_{name}_PORT"] = str(port)
        settings = Settings.read()
        cluster.start(settings, report=print)
        try:
            cluster.connect(settings)
            url = f"http://127.0.0.1:{settings.serve_port}"
            deploy(settings, url)
            deploy_by_hand()
            yield Peer(targets=[*ours(url), *by_hand(url)], version=f"ray {version('ray')}")
        finally:
            import ray

            ray.shutdown()
            cluster.stop(settings)


def ours(url: str) -> list[Target]:
    """Return what the deployments answer."""
    arrow = {"Content-Type": q.ARROW, "Accept": q.ARROW}
    return [
        Target(name=OURS, kind="frame", url=f"{url}/frame/v0/query", questions=q.row_questions()),
        Target(
            name=ALONE, kind="frame", url=f"{url}/frame_alone/v0/query", questions=q.row_questions()
        ),
        Target(name=OURS, kind="numpy", url=f"{url}/numpy/v0/query", questions=q.numpy_questions()),
        Target(
            name=OURS,
            kind="primitives",
            url=f"{url}/primitives/v0/query",
            questions=q.primitive_questions(),
        ),
        Target(
            name=OURS,
            kind="json rows",
            url=f"{url}/frame/v0/query",
            questions=q.rows_question(1_000, q.records),
        ),
        Target(
            name=OURS,
            kind="arrow rows",
            url=f"{url}/frame/v0/query",
            questions=q.rows_question(100_000, q.arrow),
            headers=arrow,
            numbers=q.arrow_numbers,
        ),
    ]


def by_hand(url: str) -> list[Target]:
    """Return what the replica by hand answers."""
    asked = {
        "frame": q.row_questions(),
        "numpy": q.numpy_questions(),
        "primitives": q.primitive_questions(),
        "json rows": q.rows_question(1_000, q.records),
    }
    arrow = Target(
        name=BY_HAND,
        kind="arrow rows",
        url=f"{url}/hand/arrow_rows",
        questions=q.rows_question(100_000, q.arrow),
        headers={"Content-Type": q.ARROW},
        numbers=q.arrow_numbers,
    )
    return [
        *(
            Target(
                name=BY_HAND,
                kind=kind,
                url=f"{url}/hand/{kind.replace(' ', '_')}",
                questions=questions,
            )
            for kind, questions in asked.items()
        ),
        arrow,
    ]


def deploy(settings: Any, url: str) -> None:
    """Save the functions and apply them to Serve."""
    import envelope as me
    from envelope.config import DeploymentConfig
    from envelope.connection import connect
    from ray_runtime import apps
    from ray_runtime.environments import runtime_env_for

    frame = me.save_model(
        name="frame", model=served.model, query_function="predict", api_input=served.X
    )
    numpy = me.save_model(
        name="numpy",
        query_function=served.dot,
        api_input={"values": served.X.head(1).to_numpy()[0]},
        modules=[served],
    )
    primitives = me.save_model(name="primitives", query_function=served.price, modules=[served])
    wanted = [
        ("frame", frame, {}),
        ("frame_alone", frame, {"batching": "none"}),
        ("numpy", numpy, {}),
        ("primitives", primitives, {}),
    ]
    here = connect(settings)

    def spec(name: str, saved: Any, config: dict[str, Any]) -> apps.AppSpec:
        record = here.registry.envelope(saved.id)
        return apps.AppSpec(
            deployment=name,
            envelope_id=saved.id,
            manifest_sha256=record.manifest_sha256,
            function_hashes=record.functions,
            release_id=None,
            config=DeploymentConfig(**config),
            runtime_env=runtime_env_for(here.store, here.store.get_manifest(saved.id)),
            store_url=here.store.url,
            serve_url=url,
        )

    apps.deploy([spec(*one) for one in wanted])


class ByHand:
    """What someone would write who knows Serve well, for all the functions."""

    def __init__(self) -> None:
        import msgspec
        import numpy as np
        import pandas as pd
        import pyarrow as pa

        self.frame, self.array, self.arrow = pd.DataFrame, np.asarray, pa
        self.read_row = msgspec.json.Decoder(dict[str, float]).decode
        self.read_rows = msgspec.json.Decoder(list[dict[str, float]]).decode
        self.read_values = msgspec.json.Decoder(dict[str, list[float]]).decode
        self.read_house = msgspec.json.Decoder(
            msgspec.defstruct(
                "House",
                [("area", float), ("rooms", int), ("district", str), ("is_new", bool, False)],
            )
        ).decode
        self.write = msgspec.json.Encoder().encode

    async def __call__(self, request: Any) -> Any:
        from starlette.responses import Response

        body = await request.body()
        path = request.url.path
        if path == "/hand/frame":
            output = float(served.model.predict(self.frame([self.read_row(body)]))[0])
        elif path == "/hand/numpy":
            output = served.dot(self.array(self.read_values(body)["values"]))
        elif path == "/hand/json_rows":
            output = served.model.predict(self.frame(self.read_rows(body))).tolist()
        elif path == "/hand/arrow_rows":
            return Response(self.arrow_rows(body), media_type=ARROW)
        else:
            house = self.read_house(body)
            output = served.price(house.area, house.rooms, house.district, house.is_new)
        return Response(self.write(output), media_type="application/json")

    def arrow_rows(self, body: bytes) -> bytes:
        with self.arrow.ipc.open_stream(body) as reader:
            frame = reader.read_all().to_pandas()
        table = self.arrow.table({"output": served.model.predict(frame)})
        sink = self.arrow.BufferOutputStream()
        with self.arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())


def deploy_by_hand() -> None:
    """Run the replica by hand, behind the same HAProxy."""
    from ray import cloudpickle, serve

    for module in (served, sys.modules[__name__]):  # workers have no benchmarks on their path
        cloudpickle.register_pickle_by_value(module)
    deployment = serve.deployment(
        ByHand, ray_actor_options={"num_cpus": 0.25}, max_ongoing_requests=1000
    )
    serve.run(deployment.bind(), name="hand", route_prefix="/hand")
