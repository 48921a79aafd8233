"""What a key may ask, and what a value has to be to compare with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches

from packaging.utils import canonicalize_name

from envelope.registry.query.paths import join_path, split_path
from envelope.registry.query.tree import Key, Value
from envelope.registry.query.versions import version_key

COLUMNS = ("id", "name", "description", "created_by")
FACTS = ("hyperparameters", "context", "environment", "artifact", "datasets")
SINGLE_FACTS = ("format_version", "default_function")
FAMILIES = ("tags", "metrics", "packages", "functions", *FACTS)
SINGLE = (*COLUMNS, *SINGLE_FACTS, "created_at", "python_version", "proved")
PYTHON = Key(source="version", name="environment.python")


class Misuse(Exception):
    """A key or value that cannot be; the parser adds where it stands."""


def read_key(text: str) -> Key:
    """Find what a key asks about. Raises Misuse naming the keys there are."""
    root, *rest = split_path(text)
    if root in SINGLE:
        if rest:
            raise Misuse(f"{root} is a single value and has nothing below it; write {root} alone")
        return _single(root)
    if root not in FAMILIES:
        close = get_close_matches(root, [*FAMILIES, *SINGLE], n=1)
        known = ", ".join([*(f"{family}.*" for family in FAMILIES), *SINGLE])
        hint = f"did you mean {close[0]}? " if close else ""
        raise Misuse(f"there is no key {root!r}; {hint}the keys are {known}")
    if not rest:
        raise Misuse(f"{root} needs a name below it, such as {_EXAMPLES[root]}")
    return _member(root, rest)


_EXAMPLES = {
    "tags": "tags.region",
    "metrics": "metrics.auc",
    "packages": "packages.pandas",
    "functions": "functions.predict",
    "hyperparameters": "hyperparameters.alpha",
    "context": "context.git.commit",
    "environment": "environment.platform",
    "artifact": "artifact.codec",
    "datasets": "datasets.train.sha256",
}


def _single(root: str) -> Key:
    if root in COLUMNS:
        return Key(source="column", name=root)
    if root in SINGLE_FACTS:
        return Key(source="fact", name=root)
    if root == "python_version":
        return PYTHON
    return Key(source="time" if root == "created_at" else "proved", name=root)


def _member(root: str, rest: list[str]) -> Key:
    if root in ("tags", "metrics", "packages", "functions") and len(rest) > 1:
        joined = join_path([".".join(rest)])
        raise Misuse(f"a name that holds a dot is written in double quotes: {root}.{joined}")
    match root:
        case "tags":
            return Key(source="tag", name=rest[0])
        case "metrics":
            return Key(source="metric", name=rest[0])
        case "functions":
            return Key(source="function", name=rest[0])
        case "packages":
            return Key(source="version", name=join_path([root, canonicalize_name(rest[0])]))
        case _:
            key = Key(source="fact", name=join_path([root, *rest]))
            return PYTHON if key.name == PYTHON.name else key


def read_value(key: Key, operator: str, value: Value) -> Value:
    """Check that `value` can be compared with `key`, and make times of text where it has to.

    Raises Misuse saying what it has to be. Facts of the manifest may be text, numbers or booleans,
    so any value goes; there a different type is simply false.
    """
    ordered = operator not in ("=", "!=", "in", "like")
    if ordered and isinstance(value, bool):
        raise Misuse("true and false have no order; use = or !=")
    return _READERS[key.source](key, ordered, value)


def _text(what: str) -> Callable[[Key, bool, Value], Value]:
    def read(key: Key, ordered: bool, value: Value) -> Value:
        if not isinstance(value, str):
            raise Misuse(f"{what} are strings: write {_quoted(value)}")
        return value

    return read


def _metric(key: Key, ordered: bool, value: Value) -> Value:
    if not isinstance(value, float):
        raise Misuse("metrics are numbers: write one without quotes, such as 0.9")
    return value


def _version(key: Key, ordered: bool, value: Value) -> Value:
    if not isinstance(value, str):
        raise Misuse(f"versions are strings: write {_quoted(value)}")
    if ordered and version_key(value) is None:
        raise Misuse(f"{value!r} is not a version; write one such as '2.1' or '3.11.7'")
    return value


def _time(key: Key, ordered: bool, value: Value) -> Value:
    if not isinstance(value, str):
        raise Misuse("created_at compares with a time in quotes, such as '2026-01-31T12:00:00Z'")
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise Misuse(
            f"{value!r} is neither a date nor a time; write '2026-01-31' or '2026-01-31T12:00:00Z'"
        ) from None
    if time.tzinfo is not None:
        try:
            return time.astimezone(UTC)
        except OverflowError:
            raise Misuse(
                f"{value!r} is out of range; write a time of the years 1 to 9999"
            ) from None
    if len(value) <= len("2026-01-31") and "T" not in value.upper():
        return time.replace(tzinfo=UTC)  # a date begins at midnight, UTC
    raise Misuse(f"{value!r} has no time zone; append Z for UTC, or an offset such as +01:00")


def _proved(key: Key, ordered: bool, value: Value) -> Value:
    if not isinstance(value, bool):
        raise Misuse("proved is true or false: write proved = true")
    return value


def _any(key: Key, ordered: bool, value: Value) -> Value:
    return value


def _quoted(value: Value) -> str:
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    if isinstance(value, float):
        return f"'{value:g}'"
    return f"'{value}'"


_READERS: dict[str, Callable[[Key, bool, Value], Value]] = {
    "tag": _text("tags"),
    "function": _text("the hashes of functions"),
    "column": _text("name, description, id and created_by"),
    "metric": _metric,
    "version": _version,
    "time": _time,
    "proved": _proved,
    "fact": _any,
}
