"""The annotations of functions and classes, forward references followed."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from typing import Any

from envelope.errors import SchemaError


@dataclasses.dataclass(frozen=True, slots=True)
class Unresolved:
    """An annotation that refers to a name which is not there at run time."""

    name: str

    def error(self, where: str) -> SchemaError:
        """Return what to raise where no example can stand in for it."""
        return SchemaError(
            f"{where} is annotated with {self.name!r}, which is not defined where it is used; "
            "import it at run time (not only under TYPE_CHECKING), or give an example"
        )


def resolved_hints(owner: Any, where: str) -> dict[str, Any]:
    """Return the annotations of a function or class, forward references followed.

    One that leads nowhere is `Unresolved`. Raises SchemaError for one that is no Python.
    """
    try:
        return typing.get_type_hints(owner, include_extras=True)
    except NameError:
        return {
            name: _resolved(owner, name, hint)
            for name, hint in inspect.get_annotations(owner).items()
        }
    except (TypeError, SyntaxError, AttributeError) as exc:
        raise SchemaError(
            f"the annotations of {where} cannot be read: {exc}; correct them"
        ) from exc


def _resolved(owner: Any, name: str, hint: Any) -> Any:
    alone = types.SimpleNamespace(__annotations__={name: hint})
    module = sys.modules.get(getattr(owner, "__module__", ""))
    scope = getattr(inspect.unwrap(owner), "__globals__", None) or vars(module or types)
    try:
        return typing.get_type_hints(alone, globalns=scope, include_extras=True)[name]
    except NameError as exc:
        return Unresolved(str(exc.name))
