"""What a library shows of a fitted model: for people to read and to compare two envelopes by.

Small and bounded, whatever the model: numbers of JSON, arrays only as long as MAX_VALUES. Nothing
is computed that the model does not hold already, except importances of MAX_TREES trees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec
import numpy as np

MAX_VALUES = 100  # of an array, a list, a dict; longer ones are summed up
MAX_SUMMED = 1_000_000  # elements whose smallest, largest and mean are looked for: milliseconds
MAX_TREES = 100  # sklearn computes a forest's importances when asked, about 0.2 ms a tree
MAX_DEPTH = 5
MAX_TEXT = 200
MAX_BYTES = 64 << 10
_COMPUTED = ("feature_importances_", "coef_", "intercept_", "best_iteration", "best_score")


def describe_fitted(model: Any, *, values: bool = True) -> dict[str, Any]:
    """Describe a model: {"type", "params": as it was made, "fitted": what training gave it}.

    values: False leaves out what training gave, where columns are sensitive: an encoder's
    categories are a column's values. {} for what shows neither.
    """
    described = _describe(model, values, MAX_DEPTH)
    if not described:
        return {}
    size = len(msgspec.json.encode(described))
    return described if size <= MAX_BYTES else {"type": described["type"], "left_out_bytes": size}


def _describe(model: Any, values: bool, depth: int) -> dict[str, Any]:
    found = {
        "params": {name: _plain(value, values, depth) for name, value in _params(model)},
        "fitted": {name: _plain(value, values, depth) for name, value in _fitted(model)}
        if values
        else {},
    }
    kept = {name: part for name, part in found.items() if part}
    return {"type": _type_of(model), **kept} if kept else {}


def _params(model: Any) -> Iterator[tuple[str, Any]]:
    """What the model was made with, as sklearn, lightgbm, xgboost and catboost tell it."""
    if isinstance(model, type) or not callable(getattr(model, "get_params", None)):
        params = getattr(model, "params", None)  # a lightgbm Booster's
        found = params if isinstance(params, dict) else {}
    else:
        try:
            found = model.get_params(deep=False)
        except Exception:  # the library's, for instance catboost's get_params takes no `deep`
            found = _tried(model.get_params) or {}
    if isinstance(found, Mapping):
        yield from islice(((str(name), found[name]) for name in found), MAX_VALUES)


def _fitted(model: Any) -> Iterator[tuple[str, Any]]:
    """What training gave it: sklearn's names end in `_`, boosters and results have their own."""
    if isinstance(model, type):
        return
    held = getattr(model, "__dict__", {})
    names = [name for name in held if name.endswith("_") and not name.startswith("_")]
    known = type(model).__module__.partition(".")[0]
    if known in ("sklearn", "lightgbm", "xgboost", "catboost"):
        names += [name for name in _COMPUTED if name not in names and _is_cheap(model, name)]
    elif known == "statsmodels":
        names += ["params"]
    for name in names[:MAX_VALUES]:
        value = held[name] if name in held else _tried(lambda name=name: getattr(model, name))
        if value is not None:
            yield name, value
    for name in ("num_trees", "num_feature", "num_boosted_rounds", "num_features", "attributes"):
        if known in ("lightgbm", "xgboost") and callable(getattr(type(model), name, None)):
            yield name, _tried(getattr(model, name))


def _is_cheap(model: Any, name: str) -> bool:
    trees = getattr(model, "__dict__", {}).get("estimators_", ())
    return name != "feature_importances_" or len(trees) <= MAX_TREES


def _tried(function: Any) -> Any:
    try:
        return function()
    except Exception:  # a property that does not apply to this model, as a linear one's trees
        return None


def _plain(value: Any, values: bool, depth: int) -> Any:
    """Return a value as JSON holds it, or a summary of it."""
    if isinstance(value, np.generic):
        value = value.item()
    match value:
        case None | bool():
            return value
        case int():
            return value if abs(value) < 2**63 else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _text(value)
        case np.ndarray():
            return _array(value, values, depth)
    if hasattr(value, "to_numpy") and hasattr(value, "index"):  # a Series of named coefficients
        return _plain(dict(zip(map(str, value.index), value, strict=True)), values, depth)
    if depth <= 0:
        return {"type": _type_of(value)}
    if isinstance(value, Mapping):
        if not values or len(value) > MAX_VALUES:
            return {"type": _type_of(value), "length": len(value)}
        return {_text(str(k)): _plain(v, values, depth - 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return _sequence(value, values, depth)
    return _describe(value, values, depth - 1) or {"type": _type_of(value)}


def _sequence(value: list[Any] | tuple[Any, ...], values: bool, depth: int) -> Any:
    steps = [item for item in value if isinstance(item, tuple) and len(item) in (2, 3)]
    if steps and len(steps) == len(value) <= MAX_VALUES and all(_is_step(s) for s in steps):
        return {_text(step[0]): _plain(step[1], values, depth - 1) for step in steps}
    is_simple = all(isinstance(item, str | int | float | bool | None) for item in value[:1000])
    if not values or len(value) > MAX_VALUES or not (is_simple or len(value) <= 10):
        return {"type": _type_of(value), "length": len(value)}
    return [_plain(item, values, depth - 1) for item in value]


def _is_step(item: tuple[Any, ...]) -> bool:
    """Say whether it is a pipeline's (name, estimator), or a ColumnTransformer's with columns."""
    return isinstance(item[0], str) and not isinstance(item[1], int | float | list | tuple)


def _array(value: np.ndarray[Any, Any], values: bool, depth: int) -> Any:
    is_number = value.dtype.kind in "biuf"
    if values and value.size <= MAX_VALUES and (is_number or value.dtype.kind in "OUS"):
        return _plain(value.tolist(), values, value.ndim + 1)
    summary = {"shape": list(value.shape), "dtype": str(value.dtype)}
    if values and is_number and 0 < value.size <= MAX_SUMMED:
        found = {"min": value.min(), "max": value.max(), "mean": value.mean()}
        summary |= {name: _plain(number, values, depth) for name, number in found.items()}
    return summary


def _text(value: str) -> str:
    text = value.encode(errors="replace").decode()  # half a surrogate pair is not JSON
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."


def _type_of(value: Any) -> str:
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
