"""The one writer to Serve: a detached actor that takes orders from whoever leads.

It keeps the highest epoch that it was ever given, in the control store too, so that it survives
its own death. An order of a lower epoch is refused: a controller that was taken for dead can change
nothing, however late its orders arrive. Orders are carried out one after the other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put
from ray.serve.context import _set_global_client

from envelope.errors import ClusterError, Deposed, EnvelopeError
from ray_runtime.connection import NAMESPACE

NAME = "serve-writer"
EPOCH_KEY = b"envelope-lease-epoch"
ANSWER_S = 45.0  # an order takes milliseconds, the actor's own start a second or two
GONE_S = 10.0  # an actor that was ended keeps its name for a moment


class Writer:
    """What runs in the actor, one call at a time."""

    def __init__(self) -> None:
        self._epoch = int(_internal_kv_get(EPOCH_KEY, namespace=NAMESPACE) or 0)

    def version(self) -> str:
        """The version of this package that the actor runs."""
        return version("model-envelope")

    def admit(self, epoch: int) -> int:
        """Take no orders below `epoch` from now on, if it is the highest yet; return that one."""
        if epoch > self._epoch:
            _internal_kv_put(EPOCH_KEY, str(epoch).encode(), overwrite=True, namespace=NAMESPACE)
            self._epoch = epoch
        return self._epoch

    def write(self, epoch: int, order: Callable[..., None], *arguments: Any) -> int:
        """Carry an order out unless there was a higher epoch; return the highest."""
        highest = self.admit(epoch)
        if highest == epoch:
            try:
                order(*arguments)
            except EnvelopeError:
                _set_global_client(None)  # it may be of a Serve that is gone
                raise
        return highest


class FencedWriter:
    """The writer, as the leader of one epoch uses it.

    Raises Deposed, also when made, once there was a leader of a higher epoch, and ClusterError when
    the actor does not answer.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._actor = _current_actor()
        self._require(_answer(self._actor.admit.remote(epoch)))

    def write(self, order: Callable[..., None], *arguments: Any) -> None:
        """Carry out `order(*arguments)`, a function of `ray_runtime.apps`, in the actor.

        Raises what it raises, Deposed and ClusterError.
        """
        self._require(_answer(self._actor.write.remote(self._epoch, order, *arguments)))

    def _require(self, highest: int) -> None:
        if highest != self._epoch:
            raise Deposed(
                f"Serve takes orders from epoch {highest} by now, not from {self._epoch}; nothing "
                "was changed, `envelope status` says who leads"
            )


def _current_actor() -> Any:
    """The actor; one of another version of this package is replaced."""
    deadline = time.monotonic() + GONE_S
    while True:
        with contextlib.suppress(ClusterError):  # it is ending
            actor = _any_actor()
            if _answer(actor.version.remote()) == version("model-envelope"):
                return actor
            ray.kill(actor)
        if time.monotonic() > deadline:
            raise ClusterError(f"the actor {NAME} does not start; look with `envelope status`")
        time.sleep(0.2)


def _any_actor() -> Any:
    return (
        ray.remote(Writer)
        .options(
            name=NAME,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            max_restarts=-1,
        )
        .remote()
    )


def _answer(reference: Any) -> Any:
    try:
        return ray.get(reference, timeout=ANSWER_S)
    except RayTaskError as exc:
        if isinstance(exc.cause, EnvelopeError):
            raise exc.cause from None
        raise ClusterError(f"the actor {NAME} failed: {exc}") from exc
    except (RayError, TimeoutError) as exc:
        raise ClusterError(
            f"the actor {NAME} does not answer: {type(exc).__name__}: {exc}; look with "
            "`envelope status`"
        ) from exc
