"""Why a start failed, in the few lines that a person needs, out of what Serve and Ray say."""

from __future__ import annotations

import re

from ray_runtime.environments import reason_of

LINES = 12
CHARACTERS = 2000


def readable_reason(text: str) -> str:
    """Return what a person needs of what Serve says about a start that failed.

    Serve wraps the replica's own error in tracebacks of Ray's workers and of its own; ours is the
    last exception of the innermost. Anything else is cut to a readable length.
    """
    text = _COLOURS.sub("", text)
    for find in (reason_of, _raised, _runtime_env_failure):
        reason = find(text)
        if reason:
            return _cut(reason)
    return _cut(text)


_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_EXCEPTION = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?([A-Z]\w*(?:Error|Exception|NotFound)): ", re.M)
_AFTER = re.compile(r"\n(?:\s*\n)?(?:The above exception|During handling|Traceback \(most recent)")


def _raised(text: str) -> str | None:
    """Return the last exception with its message, without the tracebacks around it."""
    if "Traceback (most recent call last)" not in text:
        return None
    marks = list(_EXCEPTION.finditer(text))
    if not marks:
        return None
    reason = text[marks[-1].start() :]
    cut = _AFTER.search(reason)
    return reason[: cut.start()].strip() if cut else reason.strip()


def _runtime_env_failure(text: str) -> str | None:
    _, found, rest = text.partition("Exception when allocating")
    return rest.partition(":")[2].strip() if found else None


def _cut(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines() if line.strip()]
    if len(lines) > LINES:
        lines = [*lines[: LINES - 1], f"... and {len(lines) - LINES + 1} more lines"]
    return "\n".join(lines)[:CHARACTERS]
