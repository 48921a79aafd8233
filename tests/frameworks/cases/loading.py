"""Load what a case has saved, in a process that never saw its code, and compare to the last bit."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import envelope as me


def bits(value: Any) -> Any:
    """Reduce an answer to what two equal ones have in common: types, shapes, bytes."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tobytes") and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    return type(value).__name__, value.tolist() if hasattr(value, "tolist") else value


folder = Path(sys.argv[1])
report = json.loads((folder / "report.json").read_text())
for name, saved in report["models"].items():
    example, answer = pickle.loads((folder / f"{name}.pkl").read_bytes())
    function = me.get(saved["id"]).load().default
    names = [parameter.name for parameter in function.schema.parameters]
    given = example if isinstance(example, dict) else {names[0]: example}
    found = function.call(**given)
    if bits(found) != bits(answer):
        sys.exit(f"{name}: {found!r} is not {answer!r}")
    print(name, "answers the same")
