"""Save what a case defines, with the answers that it gave. Imported by the scripts beside it."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import envelope as me


def save(
    models: Mapping[str, tuple[Any, Any, Any]],
    claims: Mapping[str, bool] | None = None,
    answers: Mapping[str, Any] | None = None,
    modules: Mapping[str, Sequence[ModuleType]] | None = None,
) -> None:
    """Save each model: name -> (model or None, query function, example input).

    claims: what the codec's comments say of the library, found out here.
    answers: what the library answers, where the function is not called as it is elsewhere.
    modules: what travels along with a model, because no index has it.
    """
    folder = Path(sys.argv[1])
    report = {}
    for name, (model, function, example) in models.items():
        envelope = me.save_model(
            name=name,
            model=model,
            query_function=function,
            api_input=example,
            modules=(modules or {}).get(name, ()),
        )
        answer = (answers or {}).get(name)
        if answer is None:
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
