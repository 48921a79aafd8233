"""Load what a case has saved, in a process that never saw its code, and compare to the last bit."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

from bits import bits

import envelope as me

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
