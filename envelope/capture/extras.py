"""Optional requirements that a library uses here: it is asked for none, but it found them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType

from packaging.utils import canonicalize_name

from envelope.capture.installed import Installed, InstalledDistribution
from envelope.capture.requirements import applies


def extras_in_use(
    module: str, owner: InstalledDistribution, here: Installed
) -> Iterator[InstalledDistribution]:
    """Yield what a loaded module of `owner` holds of the distributions that are its extras.

    lightgbm.sklearn, for one, works on scikit-learn and pandas objects where these are installed,
    and requires neither: in an environment without them it loads, and then fails or answers
    differently.
    """
    optional = {
        canonicalize_name(requirement.name)
        for requirement in owner.requires
        if requirement.marker is not None and not applies(requirement.marker, ())
    }
    candidates = [here.distributions[name] for name in optional & here.distributions.keys()]
    if candidates:
        used = set(_tops_of_values(module))
        yield from (found for found in candidates if not used.isdisjoint(found.top_levels))


def _tops_of_values(module: str) -> Iterator[str]:
    """Yield the top-level packages of what a loaded module's names are bound to."""
    for value in list(vars(sys.modules.get(module, _EMPTY)).values()):
        # Of these kinds only: asking anything else for its module may run a lazy import.
        if isinstance(value, ModuleType):
            yield value.__name__.partition(".")[0]
        elif isinstance(value, type | FunctionType | BuiltinFunctionType):
            yield (value.__module__ or "").partition(".")[0]


_EMPTY = ModuleType("empty")
