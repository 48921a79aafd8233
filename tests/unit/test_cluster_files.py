"""cluster.yaml and deploy/kuberay.yaml: valid, and the same flags as a local start has.

The launcher's file is held to the schema that Ray ships. KubeRay's is not on PyPI: the manifest was
validated against the operator's own definition of RayCluster (v1, unknown fields refused); what is
checked here are the fields that it requires, and those that we rely on.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from click.testing import CliRunner

from ray_runtime.cluster_commands import env
from ray_runtime.flags import NODE_FLAGS

ROOT = Path(__file__).parents[2]
RELEASE = version("model-envelope")


@pytest.fixture(scope="module")
def launcher() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    text = (ROOT / "deploy" / "kuberay.yaml").read_text()
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def containers(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    spec = manifests["RayCluster"]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"]["containers"][0] for group in groups]


def test_the_launchers_file_fits_rays_schema(launcher: dict[str, Any]) -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(launcher, json.loads(schema.read_text()))


def test_the_launcher_takes_it(launcher: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(launcher)
    validate_config(config)
    assert config["available_node_types"]["local.cluster.node"]["max_workers"] == 2


@pytest.mark.parametrize("key", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_node_starts_with_our_variables(launcher: dict[str, Any], key: str) -> None:
    start = launcher[key][-1]
    assert 'eval "$(envelope env --node)"' in start
    assert start.index("envelope env --node") < start.index("ray start")


def test_env_for_nodes_prints_what_a_local_start_uses() -> None:
    printed = CliRunner().invoke(env, ["--node"]).output
    lines = dict(line.removeprefix("export ").split("=", 1) for line in printed.splitlines())
    assert set(lines) == {*NODE_FLAGS, "RAY_AUTH_MODE"}
    assert lines["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert lines["RAY_RUNTIME_ENV_PLUGINS"] == f"'{NODE_FLAGS['RAY_RUNTIME_ENV_PLUGINS']}'"


def test_both_install_this_release(
    launcher: dict[str, Any], manifests: dict[str, dict[str, Any]]
) -> None:
    assert f"=={RELEASE}'" in launcher["setup_commands"][-1]
    for container in containers(manifests):
        assert container["image"].endswith(f"/model-envelope:{RELEASE}")
    controller = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert controller["image"].endswith(f"/model-envelope:{RELEASE}")


def test_the_manifest_has_what_kuberay_requires(manifests: dict[str, dict[str, Any]]) -> None:
    cluster = manifests["RayCluster"]
    assert (cluster["apiVersion"], cluster["spec"]["rayVersion"]) == ("ray.io/v1", ray.__version__)
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    for group in cluster["spec"]["workerGroupSpecs"]:
        assert {"groupName", "minReplicas", "maxReplicas", "template"} <= group.keys()


def test_every_pod_has_our_variables(manifests: dict[str, dict[str, Any]]) -> None:
    for container in containers(manifests):
        assert {each["name"]: each["value"] for each in container["env"]} == NODE_FLAGS


def test_the_controller_reaches_the_heads_service_with_its_token(
    manifests: dict[str, dict[str, Any]],
) -> None:
    name = manifests["RayCluster"]["metadata"]["name"]
    (controller,) = manifests["Deployment"]["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each for each in controller["env"]}
    assert variables["RAY_ADDRESS"]["value"] == f"{name}-head-svc:6379"
    token = variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"]
    assert token == {"name": name, "key": "auth_token"}


def test_no_credentials_in_either() -> None:
    for path in ("cluster.yaml", "deploy/kuberay.yaml"):
        lines = (ROOT / path).read_text().splitlines()
        settings = [line for line in lines if not line.lstrip().startswith("#")]
        assert not any("password" in line or "ENVELOPE_REGISTRY" in line for line in settings)
