"""Save what a case defines, with the answers that it gave. Imported by the scripts beside it."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import envelope as me


def save(
    models: Mapping[str, tuple[Any, Any, Any]], claims: Mapping[str, bool] | None = None
) -> None:
    """Save each model: name -> (model or None, query function, example input).

    claims: what the codec's comments say of the library, found out here.
    """
    folder = Path(sys.argv[1])
    report = {}
    for name, (model, function, example) in models.items():
        envelope = me.save_model(name=name, model=model, query_function=function, api_input=example)
        call = getattr(model, function) if isinstance(function, str) else function
        answer = call(*example.values()) if isinstance(example, dict) else call(example)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps((example, answer)))
        artifact = envelope.manifest.artifact
        report[name] = {
            "id": envelope.id,
            "parts": [[part.codec, part.type] for part in artifact.parts],
            "packages": [package.name for package in envelope.manifest.environment.packages],
        }
    (folder / "report.json").write_text(json.dumps({"models": report, "claims": claims or {}}))
