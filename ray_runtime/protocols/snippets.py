"""A query as text to paste into a shell or a Python program; it works as it stands."""

from __future__ import annotations

import json
import shlex
from typing import Any

from ray_runtime.lanes import Lane
from ray_runtime.live import Live
from ray_runtime.protocols.examples import Example

ORIGIN = "http://localhost:8000"  # the local platform's; the page puts its own there


def query_path(live: Live, lane: Lane) -> str:
    """Return the path of the shortest v0 route to a function."""
    path = f"/{live.options.deployment}/v0/query"
    return path if lane is live.default else f"{path}/{lane.function.name}"


def snippets(path: str, example: Example) -> dict[str, str]:
    """Return a text for each of `curl`, `python` and, where CSV can carry the example, `csv`."""
    url = ORIGIN + path
    texts = {"curl": _curl(url, example.body), "python": _python(url, example.body)}
    if example.csv is not None:
        texts["csv"] = _curl_csv(url, example.csv)
    return texts


def _curl(url: str, body: Any) -> str:
    text = shlex.quote(json.dumps(body, ensure_ascii=False))
    return f"curl -sS {url} \\\n  -H 'Content-Type: application/json' \\\n  -d {text}"


def _curl_csv(url: str, csv: str) -> str:
    return (
        f"curl -sS {url} \\\n  -H 'Content-Type: text/csv' \\\n  --data-binary {shlex.quote(csv)}"
    )


def _python(url: str, body: Any) -> str:
    """A program that needs nothing but Python."""
    return (
        "import json\nimport urllib.request\n\n"
        f"body = json.loads({json.dumps(body)!r})\n"
        f'request = urllib.request.Request(\n    "{url}",\n'
        "    data=json.dumps(body).encode(),\n"
        '    headers={"Content-Type": "application/json"},\n)\n'
        "with urllib.request.urlopen(request) as answer:\n    print(json.load(answer))"
    )
