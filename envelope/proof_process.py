"""What runs in a rebuilt environment: load an envelope as a replica does, replay its samples.

    python -I -m envelope.proof_process TASK RESULT

TASK and RESULT are JSON files. The result is written when each step begins, so that a process that
dies (a crash in compiled code) has said how far it came.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import msgspec

from envelope.errors import EnvelopeError
from envelope.load import load_envelope
from envelope.replay import Replay, ReplayError, replay
from envelope.store import Store

Step = Literal["build", "load", "replay"]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What to prove. rtol: stated by who asks, None: each function's own."""

    store_url: str
    envelope_id: str
    manifest_sha256: str
    function_hashes: dict[str, str]
    modules_dir: str
    rtol: float | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How far it came. failure: why it went no further; None before the end: it died."""

    step: Step
    functions: dict[str, Replay] = {}
    failure: str | None = None
    is_whole: bool = False


def main(task_path: Path, result_path: Path) -> None:
    """Carry out a task. Whatever the model raises is in the result, not in the exit status."""
    task = msgspec.json.decode(task_path.read_bytes(), type=Task)

    def write(result: Result) -> None:
        result_path.write_bytes(msgspec.json.encode(result))

    write(Result(step="load"))
    try:
        loaded = load_envelope(
            Store(task.store_url),
            task.envelope_id,
            manifest_sha256=task.manifest_sha256,
            function_hashes=task.function_hashes,
            modules_dir=Path(task.modules_dir),
        )
        checkers = {name: one.checker_for() for name, one in loaded.functions.items()}
    except EnvelopeError as exc:
        write(Result(step="load", failure=str(exc)))
        return
    write(Result(step="replay"))
    replays: dict[str, Replay] = {}
    failures: list[str] = []
    for name, function in loaded.functions.items():
        try:
            replays[name] = replay(function, checkers[name], rtol=task.rtol)
        except ReplayError as exc:
            failures.append(str(exc))
    failure = "\n".join(failures) or None
    write(Result(step="replay", functions=replays, failure=failure, is_whole=failure is None))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
