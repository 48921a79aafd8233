"""What runs in a candidate's environment to judge it: load it, call the check of a deployment.

    python -m envelope.check_process TASK

TASK is JSON. The verdict is the last line that is printed, behind VERDICT; what else is printed is
the check's own. The folder that it starts in is on the import path.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import msgspec

from envelope.errors import EnvelopeError
from envelope.load import LoadedEnvelope, load_envelope
from envelope.store import Store

VERDICT = "verdict: "


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to judge. function: package.module:function. live: the id of what is live.

    is_here: the function has to be found in the folder that this starts in, so that a candidate
    cannot bring another one of its name.
    """

    function: str
    is_here: bool
    store_url: str
    envelope_id: str
    manifest_sha256: str
    function_hashes: dict[str, str]
    live: str | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What the check says. unjudged: it said nothing."""

    state: Literal["passed", "refused", "unjudged"]
    reason: str


def judge(task: Task) -> Verdict:
    """Load the candidate and call its check. Whatever either raises is in the verdict."""
    try:
        loaded = load_envelope(
            Store(task.store_url),
            task.envelope_id,
            manifest_sha256=task.manifest_sha256,
            function_hashes=task.function_hashes,
        )
    except EnvelopeError as exc:
        return Verdict(state="unjudged", reason=f"did not get to see it: {exc}")
    try:
        check = find(task.function, Path.cwd() if task.is_here else None)
    except Exception as exc:  # whatever its module raises when it is imported
        traceback.print_exc()
        return Verdict(state="unjudged", reason=f"is not there: {type(exc).__name__}: {exc}")
    return call(check, loaded, task.live)


def find(function: str, folder: Path | None) -> Callable[..., Any]:
    """Import a function. folder: where its module has to be.

    Raises ImportError, AttributeError, TypeError, and what the module raises.
    """
    module_name, _, name = function.partition(":")
    if folder is not None:
        sys.path.insert(0, str(folder))  # before what the candidate has brought
    module = importlib.import_module(module_name)
    file = getattr(module, "__file__", None)
    if folder is not None and (file is None or not Path(file).resolve().is_relative_to(folder)):
        raise ImportError(
            f"{module_name} is {file or 'not a file'} here, and not in the gate's working_dir; "
            "give one of the two modules another name"
        )
    found = getattr(module, name)
    if not callable(found):
        raise TypeError(f"{function} is no function but {type(found).__name__}")
    check: Callable[..., Any] = found
    return check


def call(check: Callable[..., Any], candidate: LoadedEnvelope, live: str | None) -> Verdict:
    """Ask the check. None and True let the candidate pass, False and a text refuse it."""
    try:
        answer = check(candidate, live)
    except (Exception, SystemExit) as exc:
        traceback.print_exc()
        return Verdict(state="unjudged", reason=f"raised {type(exc).__name__}: {exc}")
    if isinstance(answer, str):
        return Verdict(state="refused", reason=f"refused it: {answer}")
    if answer is None or type(answer).__name__ in ("bool", "bool_"):  # NumPy's too
        is_good = answer is None or bool(answer)
        return Verdict(
            state="passed" if is_good else "refused", reason="passed" if is_good else "refused it"
        )
    return Verdict(
        state="unjudged",
        reason=f"returned {type(answer).__name__}; let it return None or True for a candidate that "
        "may be live, and False or why not for another",
    )


def main(text: str) -> int:
    """Judge, and print the verdict. Returns the exit status: 0 only for what passed."""
    verdict = judge(msgspec.json.decode(text, type=Task))
    sys.stdout.flush()
    sys.stderr.flush()
    print(f"\n{VERDICT}{msgspec.json.encode(verdict).decode()}", flush=True)
    return 0 if verdict.state == "passed" else 1


if __name__ == "__main__":
    os._exit(main(sys.argv[1]))  # not waiting for what the model has left running
