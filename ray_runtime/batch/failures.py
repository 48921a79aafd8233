"""What a worker raised, out of what Ray makes of it.

Ray hands the driver a text: the worker's traceback, then its own advice. Our errors are found in it
by their class, and raised again as what they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from envelope import errors
from envelope.errors import ClusterError, EnvelopeError

_MARK = re.compile(r"^(?:envelope\.errors\.)(\w+): ", re.MULTILINE)
_END = re.compile(
    r"\n(?:Failed to apply UDF transform"
    r"|\nThe above exception was the direct cause"
    r"|\nDuring handling of the above exception"
    r"|.{0,10}\bray::)"
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
MAX_LINES = 40


@contextmanager
def translated() -> Iterator[None]:
    """Raise what a worker raised, for the block that waits for it. Ours pass as they are."""
    import ray.exceptions as rx

    try:
        yield
    except EnvelopeError as exc:
        # A worker's, when Ray was in between; it then carries Ray's advice as its own text.
        raise (worker_error(str(exc)) or exc if isinstance(exc, rx.RayError) else exc) from None
    except rx.RayError as exc:
        raise worker_error(str(exc)) or ClusterError(_of_ray(exc)) from exc


def worker_error(text: str) -> EnvelopeError | None:
    """Find our own error in what Ray says; None if there is none.

    The last one counts: it is the one that was raised from those before.
    """
    text = _COLOURS.sub("", text)
    marks = list(_MARK.finditer(text))
    if not marks:
        return None
    found = getattr(errors, marks[-1][1], None)
    message = _END.split(text[marks[-1].end() :], maxsplit=1)[0].strip()
    if not (isinstance(found, type) and issubclass(found, EnvelopeError)):
        return EnvelopeError(message)
    try:
        return found(message)
    except TypeError:  # an error with facts besides its message
        return EnvelopeError(message)


def _of_ray(error: Exception) -> str:
    lines = _COLOURS.sub("", str(error)).strip().splitlines()
    shown = "\n".join(f"  {line}" for line in lines[-MAX_LINES:])
    return (
        f"the batch job's workers failed with {type(error).__name__}:\n{shown}\n"
        "look with `envelope status` whether the cluster is up and has memory left, "
        "then run the job again"
    )
