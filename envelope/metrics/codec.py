"""Values of metrics as JSON and back, and as what is drawn of them.

A scalar is a JSON number; a structured value is an object with a `type`. Types are looked up in a
table that is passed in. What is drawn of a type that others may not have is kept beside the value,
as `plot`, so that any reader can draw it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import numbers
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from envelope.errors import EnvelopeError
from envelope.metrics.plots import SCHEMA, Spec
from envelope.metrics.types import METRIC_TYPES, MetricType
from envelope.metrics.values import Curve, Table, Vector

if TYPE_CHECKING:
    from envelope.registry import MetricPoint

MAX_BYTES = 1 << 20  # of one value as JSON: it is kept in a database row and drawn on a page
MAX_WORDS = 60  # characters of a text in a line
RESERVED = ("type", "plot")  # of the keys of a JSON form
_ROC_TOLERANCE = 1e-9

T = TypeVar("T")


def metric_type(
    name: str,
    *,
    to_json: Callable[[Any], Mapping[str, Any]] | None = None,
    from_json: Callable[[Mapping[str, Any]], Any] | None = None,
    plot: Callable[[Any], Any] | None = None,
    types: MutableMapping[str, MetricType] = METRIC_TYPES,
) -> Callable[[type[T]], type[T]]:
    """Register a class as a type of metric, with its JSON form and its plot.

        @me.metric_type("gain", plot=draw_gain)
        @dataclass
        class Gain:
            deciles: list[float]

    name: is kept in every value that is logged, so never give it to something else.
    to_json: value -> object of JSON (arrays become lists, NaN null), without the keys `type` and
    `plot`; from_json: back. A dataclass needs neither: its fields are the object's keys.
    plot: value -> Vega-Lite specification that holds its data, or a chart of Altair. It is kept
    beside the value: the registry's pages draw it without having the class.
    Raises EnvelopeError for a name that is taken, and for a class that says no JSON form.
    """

    def register(cls: type[T]) -> type[T]:
        added = MetricType(
            name=name,
            type=cls,
            to_json=to_json or _fields_of(cls),
            from_json=from_json or (lambda raw: cls(**raw)),
            plot=plot,
        )
        _check_is_free(added, types)
        types[name] = added
        return cls

    return register


def encode_metric(
    name: str, value: Any, types: Mapping[str, MetricType] = METRIC_TYPES
) -> float | dict[str, Any]:
    """Return a metric's JSON form.

    value: a number (numpy's too), a list or 1-D array of numbers (a Vector), what sklearn's
    `roc_curve` returns (a Curve), a DataFrame (a Table), an object of one of `types`, or what
    `decode_metric` leaves as it is: the JSON form of another type.
    NaN and infinity are kept as they are, and never match a comparison of a query.
    Raises EnvelopeError naming the metric for anything else.
    """
    try:
        return _encode(value, types)
    except EnvelopeError as exc:
        raise EnvelopeError(f"metric {name}: {exc}") from exc


def _encode(value: Any, types: Mapping[str, MetricType]) -> float | dict[str, Any]:
    found = _type_of(value, types)
    if found is not None:
        return _written(found, value)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()  # a scalar of numpy, torch, jax
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    if _is_roc_curve(value):
        return _encode(Curve(x=value[0], y=value[1], kind="roc"), types)
    if hasattr(value, "itertuples"):
        return _encode(Table.of_frame(value), types)
    if isinstance(value, list | tuple) or getattr(value, "ndim", None) == 1:
        return _encode(Vector(value), types)
    if isinstance(value, Mapping) and isinstance(value.get("type"), str):
        known = decode_metric(value, types)
        return _as_json(value) if isinstance(known, Mapping) else _encode(known, types)
    raise EnvelopeError(
        f"a {type(value).__name__} cannot be logged; give a number, a list of numbers, a "
        "DataFrame, one of me.Vector, Curve, Histogram, ConfusionMatrix, Table, Text, Image, or an "
        "object of a class that me.metric_type(...) registers"
    )


def decode_metric(raw: Any, types: Mapping[str, MetricType] = METRIC_TYPES) -> Any:
    """Return the value of a JSON form.

    What is not known here is left as it is: a type that nobody registered, and a form that the
    registered class cannot read, such as an older one's.
    """
    found = types.get(str(raw.get("type"))) if isinstance(raw, Mapping) else None
    if found is None:
        return dict(raw) if isinstance(raw, Mapping) else raw
    try:
        return found.from_json(_content(raw))
    except Exception:  # whatever the code of a registered class raises
        return dict(raw)


def plot_metric(raw: Any, types: Mapping[str, MetricType] = METRIC_TYPES) -> Spec | None:
    """Return the plot of a JSON form as Vega-Lite: the one that is kept in it, or its type's.

    None for a number, and for what has no plot.
    """
    if not isinstance(raw, Mapping):
        return None
    if isinstance(raw.get("plot"), Mapping):
        return _fitted_in(raw["plot"])
    found, value = _known(raw, types)
    return _drawn(found, value) if found is not None and found.plot is not None else None


def tabulate_metric(raw: Any, types: Mapping[str, MetricType] = METRIC_TYPES) -> Table | None:
    """Return what the plot of a JSON form shows as a table; None for what has none."""
    found, value = _known(raw, types)
    return found.table(value) if found is not None and found.table is not None else None


def words_of(raw: Any, types: Mapping[str, MetricType] = METRIC_TYPES) -> str:
    """Say a JSON form in a line: a number, the name of a type that is known here, or plain JSON."""
    match raw:
        case int() | float():
            return f"{raw:g}"
        case {"type": "text", "text": str(text)}:
            return json.dumps(text[:MAX_WORDS], ensure_ascii=False)
        case {"type": str(kind)} if kind in types:
            return kind.replace("_", " ")
        case Mapping():
            shown = {key: value for key, value in raw.items() if key != "plot"}
            return json.dumps(shown, ensure_ascii=False)
        case _:
            return json.dumps(raw, ensure_ascii=False)


def latest_values(points: Iterable[MetricPoint]) -> dict[str, Any]:
    """Return the JSON form of the latest value of each metric, by name.

    points: of one envelope, of equal names in the order of their times.
    """
    return {point.name: point.value for point in points}


def _known(raw: Any, types: Mapping[str, MetricType]) -> tuple[MetricType | None, Any]:
    """The type and value of a JSON form; no type where it cannot be read here."""
    value = decode_metric(raw, types)
    if not isinstance(raw, Mapping) or isinstance(value, Mapping):
        return None, value
    return types.get(str(raw.get("type"))), value


def _type_of(value: Any, types: Mapping[str, MetricType]) -> MetricType | None:
    fitting = [one for one in types.values() if isinstance(value, one.type)]
    return max(fitting, key=lambda one: len(one.type.__mro__), default=None)


def _written(found: MetricType, value: Any) -> dict[str, Any]:
    content = dict(found.to_json(value))
    if taken := [key for key in RESERVED if key in content]:
        raise EnvelopeError(
            f"to_json of metric type {found.name} gives the key {taken[0]!r}, which is ours; "
            "give it another name"
        )
    plot = {} if found.is_own or found.plot is None else {"plot": _drawn(found, value)}
    return _as_json({"type": found.name, **content, **plot})


def _drawn(found: MetricType, value: Any) -> Spec:
    assert found.plot is not None
    made = found.plot(value)
    spec = made.to_dict() if hasattr(made, "to_dict") else made
    if not isinstance(spec, Mapping):
        raise EnvelopeError(
            f"plot of metric type {found.name} gives a {type(made).__name__}; a Vega-Lite "
            "specification is a dict, and a chart of Altair has one"
        )
    return _fitted_in(spec)


def _fitted_in(spec: Mapping[str, Any]) -> Spec:
    """Give a specification what it does not say itself: the width of its place on the page."""
    is_one_view = "mark" in spec or "layer" in spec  # others have no width of their own
    width = {"width": "container"} if is_one_view else {}
    return {**width, **spec, "$schema": SCHEMA}


def _as_json(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a reader of the registry will see. Raises EnvelopeError for what is no JSON."""
    try:
        written = msgspec.json.encode(dict(raw), enc_hook=_plain)
    except (
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as exc:  # msgspec's, for what it cannot write
        raise EnvelopeError(
            f"a value of type {raw['type']} is no JSON: {exc}; to_json and plot have to give "
            "dicts, lists, texts, numbers, booleans and None"
        ) from exc
    if len(written) > MAX_BYTES:
        raise EnvelopeError(
            f"a value of type {raw['type']} has {len(written):,} bytes as JSON, at most "
            f"{MAX_BYTES:,} are kept; thin it out"
        )
    found: dict[str, Any] = msgspec.json.decode(written)
    return found


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays and scalars of numpy, series of pandas
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is none of its types")


def _content(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in RESERVED}


def _fields_of(cls: type) -> Callable[[Any], dict[str, Any]]:
    if not dataclasses.is_dataclass(cls):
        raise EnvelopeError(
            f"metric type {cls.__name__} is no dataclass, so say how it is written: "
            "to_json=value -> dict, and from_json= back"
        )
    names = [field.name for field in dataclasses.fields(cls) if field.init]
    return lambda value: {name: getattr(value, name) for name in names}


def _check_is_free(added: MetricType, types: Mapping[str, MetricType]) -> None:
    known = types.get(added.name)
    is_same = known is not None and not known.is_own and _place(known.type) == _place(added.type)
    if added.name == "scalar" or (known is not None and not is_same):  # a cell may run again
        whose = "a number's" if known is None else f"that of {'.'.join(_place(known.type))}"
        raise EnvelopeError(
            f"metric type {added.name!r} is {whose}; give {added.type.__name__} another name"
        )


def _place(cls: type) -> tuple[str, str]:
    return cls.__module__, cls.__qualname__


def _is_roc_curve(value: Any) -> bool:
    """Whether this is (fpr, tpr, thresholds) as sklearn returns them, and nothing else."""
    if not (isinstance(value, tuple) and len(value) == 3):
        return False
    if any(getattr(part, "ndim", None) != 1 for part in value):
        return False
    fpr, tpr, thresholds = (part.tolist() for part in value)
    return (
        len(fpr) == len(tpr) == len(thresholds) > 1
        and all(_rises_from_0_to_1(part) for part in (fpr, tpr))
        and all(a > b for a, b in itertools.pairwise(thresholds))
    )


def _rises_from_0_to_1(values: list[float]) -> bool:
    return (
        abs(values[0]) < _ROC_TOLERANCE
        and abs(values[-1] - 1) < _ROC_TOLERANCE
        and all(a <= b for a, b in itertools.pairwise(values))
    )
