"""A Hamilton driver and some of its variables as one query function.

Its parameters are the driver's inputs that those variables need, with the types and defaults that
the functions of its modules give them. Nothing here imports Hamilton: the driver is there.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
import uuid
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import cloudpickle

from envelope.capture import is_local_module
from envelope.errors import EnvelopeError, SchemaError

FRAME = "inputs"  # the one parameter of a dataflow over columns, as Driver.execute calls it
SEVERAL = "execute"  # the name of a function of several variables
# What a node knows of its neighbours. Written by name: a pickle that followed them would go as deep
# as the graph is long, and Python stops at about 300 nodes.
_LINKS = ("_dependencies", "_depended_on_by")
_MAX_SHOWN = 20


def is_driver(model: Any) -> bool:
    """Tell whether a model is a Hamilton driver, without importing Hamilton."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(model).__mro__}
    if "hamilton.async_driver.AsyncDriver" in names:
        raise EnvelopeError(
            "the model is an AsyncDriver, and query functions are called directly; build the "
            "driver with hamilton.driver.Builder"
        )
    return "hamilton.driver.Driver" in names


class Dataflow:
    """Variables of a driver, computed from its inputs. Called by name, like any function.

    variables: one is answered by its value, several by a dict of them. The driver's own result
    builder is not used.
    takes_frame: its inputs are the columns of one DataFrame; several variables are then answered
    by a DataFrame as soon as one of them is a column.
    """

    def __init__(self, driver: Any, variables: Sequence[str], *, takes_frame: bool = False) -> None:
        self.driver = driver
        self.variables = tuple(variables)
        self.takes_frame = takes_frame
        self.inputs = find_inputs(driver, self.variables)
        self.__name__ = variables[0].replace(".", "_") if len(variables) == 1 else SEVERAL
        self.__doc__ = driver.graph.nodes[variables[0]].documentation if len(variables) == 1 else ""
        self.__signature__ = _signature(driver, self.variables, self.inputs, takes_frame)

    def __call__(self, **arguments: Any) -> Any:
        given = arguments
        if self.takes_frame:
            frame = arguments[FRAME]
            given = {name: frame[name] for name in self.inputs if name in frame}
        found = self.driver.graph_executor.execute(
            self.driver.graph, list(self.variables), {}, dict(given), str(uuid.uuid4())
        )
        if len(self.variables) == 1:
            return found[self.variables[0]]
        return _as_frame(found) if self.takes_frame else found

    def take_columns(self, frame: Any) -> Any:
        """Return the columns of an example that are inputs: training data has others as well."""
        return frame[[name for name in self.inputs if name in frame]] if self.takes_frame else frame

    def local_modules(self) -> list[ModuleType]:
        """List the driver's modules that have to travel along as files."""
        return [module for module in self.driver.graph_modules if is_local_module(module.__name__)]

    def __getstate__(self) -> dict[str, Any]:
        return {
            "driver": _take_apart(self.driver),
            "variables": self.variables,
            "takes_frame": self.takes_frame,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        driver = _build(state["driver"])
        self.__init__(driver, state["variables"], takes_frame=state["takes_frame"])  # type: ignore[misc]  # made as it was


def make_dataflow(driver: Any, variables: Sequence[str], api_input: Any) -> Dataflow:
    """Make a function of a driver's variables.

    api_input: a DataFrame for inputs that are all columns (pd.Series) makes it one over frames.
    Raises EnvelopeError naming the variables that there are, SchemaError for an input that no
    caller can name.
    """
    nodes = driver.graph.nodes
    unknown = [name for name in variables if name not in nodes]
    if unknown or not variables:
        there = [name for name, node in nodes.items() if not node.user_defined]
        more = ", ..." if len(there) > _MAX_SHOWN else ""
        what = ", ".join(map(repr, unknown)) or "no variable"
        raise EnvelopeError(
            f"the driver does not compute {what}; query_function can be one of, or a list of, "
            f"{', '.join(there[:_MAX_SHOWN])}{more}"
        )
    for module in driver.graph_modules:
        if _has_no_file(module):
            # Made at run time, for one process: wherever the driver goes, its functions go along.
            cloudpickle.register_pickle_by_value(module)
    inputs = find_inputs(driver, variables)
    return Dataflow(driver, variables, takes_frame=_takes_frame(inputs, api_input))


def find_inputs(driver: Any, variables: Sequence[str]) -> dict[str, inspect.Parameter]:
    """Return what has to be given to compute the variables, in the order of the graph.

    What the driver's config gives is no input. One that every function has a default for is
    optional, with the default of the first.
    """
    nodes, given = driver.graph.get_upstream_nodes(list(variables))
    names = {node.name for node in given} - set(driver.graph.config)
    return {
        name: _parameter(node, [user for user in nodes if name in user.input_types])
        for name, node in driver.graph.nodes.items()
        if name in names
    }


def _parameter(node: Any, users: Sequence[Any]) -> inspect.Parameter:
    if not node.name.isidentifier():
        raise SchemaError(
            f"the driver's input {node.name!r} cannot be named by a caller; rename it to letters, "
            "digits and _, or give it in the driver's config"
        )
    default: Any = inspect.Parameter.empty
    if users and not any(user.requires(node.name) for user in users):
        first = min(users, key=lambda user: str(user.name))  # users come from a set
        default = first.default_parameter_values.get(node.name)
    return inspect.Parameter(
        node.name, inspect.Parameter.KEYWORD_ONLY, annotation=node.type, default=default
    )


def _takes_frame(inputs: Mapping[str, inspect.Parameter], api_input: Any) -> bool:
    required = [one for one in inputs.values() if one.default is inspect.Parameter.empty]
    if not required or not _is_pandas(type(api_input), "DataFrame"):
        return False
    return all(_is_column(one.annotation) for one in required)


def _signature(
    driver: Any,
    variables: Sequence[str],
    inputs: Mapping[str, inspect.Parameter],
    takes_frame: bool,
) -> inspect.Signature:
    if takes_frame:
        return inspect.Signature([inspect.Parameter(FRAME, inspect.Parameter.KEYWORD_ONLY)])
    kind = driver.graph.nodes[variables[0]].type if len(variables) == 1 else inspect.Signature.empty
    return inspect.Signature(list(inputs.values()), return_annotation=kind)


def _is_column(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    plain = typing.get_args(hint)[0] if origin is typing.Annotated else origin or hint
    return _is_pandas(plain, "Series")


def _is_pandas(kind: Any, name: str) -> bool:
    module = getattr(kind, "__module__", "")
    return getattr(kind, "__name__", "") == name and module.partition(".")[0] == "pandas"


def _as_frame(found: dict[str, Any]) -> Any:
    if not any(_is_pandas(type(value), "Series") for value in found.values()):
        return found
    import pandas as pd

    return pd.DataFrame(found)


def _has_no_file(module: ModuleType) -> bool:
    is_there = sys.modules.get(module.__name__) is module
    return is_there and module.__name__ != "__main__" and not getattr(module, "__file__", None)


def _take_apart(driver: Any) -> dict[str, Any]:
    """Return a driver's state: its modules by name, and the graph without references in it.

    Driver.__getstate__ keeps the modules' names too, and fails for those made at run time.
    """
    graph = driver.graph
    names = [module.__name__ for module in driver.graph_modules if not _has_no_file(module)]
    return {
        "type": type(driver),
        "rest": {k: v for k, v in vars(driver).items() if k not in ("graph", "graph_modules")},
        "modules": [name for name in names if name != "__main__"],
        "graph": (type(graph), {k: v for k, v in vars(graph).items() if k != "nodes"}),
        "nodes": {
            name: (type(node), {k: v for k, v in vars(node).items() if k not in _LINKS})
            for name, node in graph.nodes.items()
        },
        "links": {
            name: [[other.name for other in getattr(node, link)] for link in _LINKS]
            for name, node in graph.nodes.items()
        },
    }


def _build(state: Mapping[str, Any]) -> Any:
    nodes = {name: _restore(*node) for name, node in state["nodes"].items()}
    for name, links in state["links"].items():
        for link, others in zip(_LINKS, links, strict=True):
            setattr(nodes[name], link, [nodes[other] for other in others])
    kind, rest = state["graph"]
    graph = _restore(kind, rest | {"nodes": nodes})
    modules = [importlib.import_module(name) for name in state["modules"]]
    return _restore(state["type"], state["rest"] | {"graph": graph, "graph_modules": modules})


def _restore(kind: type, attributes: Mapping[str, Any]) -> Any:
    made: Any = object.__new__(kind)
    made.__dict__.update(attributes)
    return made
