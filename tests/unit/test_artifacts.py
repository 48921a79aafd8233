from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zstandard

from envelope import artifacts
from envelope.artifacts.pickled import BIG_BYTES
from envelope.artifacts.unpicklable import find_culprit
from envelope.errors import DependencyError, IntegrityError, SerializationError, StorageError
from envelope.manifest import sha256_of
from envelope.store import Store

LOCK = threading.Lock()  # the plainest thing that cannot be pickled


class Holder:
    def __init__(self, **members: Any) -> None:
        self.__dict__.update(members)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("handle",)

    def __init__(self, handle: Any) -> None:
        self.handle = handle


class Careful:
    """Leaves its lock out by itself; what is left fails."""

    def __init__(self) -> None:
        self.lock = LOCK
        self.cache = {"a": LOCK}

    def __getstate__(self) -> dict[str, Any]:
        return {"cache": self.cache}


class Stubborn:
    def __reduce__(self) -> Any:
        raise ValueError("I stay here")


def closing_over(value: Any) -> Callable[[], Any]:
    return lambda: value


@pytest.mark.parametrize(
    "obj",
    [
        pytest.param({"a": [1, 2.5, "x", None]}, id="plain"),
        pytest.param(np.arange(100_000.0).reshape(10, -1), id="array"),
        pytest.param((), id="nothing"),
    ],
)
def test_an_object_comes_back(memory_store: Store, obj: Any) -> None:
    artifact = artifacts.encode(obj, memory_store)
    np.testing.assert_equal(artifacts.decode(artifact, memory_store), obj)
    assert artifact.codec == "cloudpickle"
    assert artifact.type == f"{type(obj).__module__}.{type(obj).__qualname__}"


def test_a_function_made_here_travels_with_what_it_closes_over(memory_store: Store) -> None:
    artifact = artifacts.encode(closing_over(41), memory_store)
    assert artifacts.decode(artifact, memory_store)() == 41


def test_equal_objects_are_stored_once(memory_store: Store) -> None:
    first = artifacts.encode({"w": np.ones(1000)}, memory_store)
    assert artifacts.encode({"w": np.ones(1000)}, memory_store) == first


def big(value: float = 1.0) -> np.ndarray:
    return np.full(BIG_BYTES // 8, value)


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(big(), id="c-order"),
        pytest.param(np.asfortranarray(big().reshape(4, -1)), id="fortran-order"),
        pytest.param(big().reshape(2, -1).T, id="transposed"),
        pytest.param(np.stack([big(1.0), big(2.0)], axis=1)[:, 0], id="not-contiguous"),
        pytest.param(big().astype(">f8"), id="big-endian"),
        pytest.param(np.resize(np.array(["a", "bcd"]), BIG_BYTES // 8), id="text"),
    ],
)
def test_a_big_array_comes_back_as_it_was(memory_store: Store, array: np.ndarray) -> None:
    found = artifacts.decode(artifacts.encode({"w": array}, memory_store), memory_store)["w"]
    np.testing.assert_array_equal(found, array)
    assert (found.dtype, found.strides) == (array.dtype, array.copy(order="K").strides)
    assert found.flags.writeable and found.flags.aligned


def test_a_big_array_is_a_blob_that_other_models_share(memory_store: Store) -> None:
    first = artifacts.encode({"w": big(), "bias": 1.0}, memory_store)
    second = artifacts.encode({"w": big(), "bias": 2.0}, memory_store)
    assert first.codec == "cloudpickle-buffers"
    assert first.blobs[0] != second.blobs[0] and first.blobs[1:] == second.blobs[1:]
    assert [blob.size_bytes for blob in first.blobs[1:]] == [BIG_BYTES]


def test_one_array_in_two_places_stays_one(memory_store: Store) -> None:
    array = big()
    artifact = artifacts.encode([array, array], memory_store)
    one, other = artifacts.decode(artifact, memory_store)
    assert one is other and len(artifact.blobs) == 2


def test_a_read_only_array_stays_so(memory_store: Store) -> None:
    array = big()
    array.flags.writeable = False
    found = artifacts.decode(artifacts.encode(array, memory_store), memory_store)
    assert not found.flags.writeable


def test_what_is_smaller_stays_in_the_pickle(memory_store: Store) -> None:
    artifact = artifacts.encode(big()[:-1], memory_store)
    assert (artifact.codec, len(artifact.blobs)) == ("cloudpickle", 1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda data: data[:-1] + b"x", id="another-byte"),
        pytest.param(lambda data: data[:-1], id="shorter"),
        pytest.param(lambda data: data + b"x", id="longer"),
    ],
)
def test_a_changed_array_is_refused(memory_store: Store, change: Callable[[bytes], bytes]) -> None:
    artifact = artifacts.encode(big(), memory_store)
    sha256 = artifact.blobs[1].sha256
    changed = zstandard.compress(change(big().tobytes()))
    memory_store.folder.write(f"blobs/{sha256[:2]}/{sha256}", changed)
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        artifacts.decode(artifact, memory_store)


def test_a_missing_array_is_named(memory_store: Store) -> None:
    artifact = artifacts.encode(big(), memory_store)
    sha256 = artifact.blobs[1].sha256
    memory_store.folder.remove(f"blobs/{sha256[:2]}/{sha256}")
    with pytest.raises(IntegrityError, match=f"{sha256} is missing"):
        artifacts.decode(artifact, memory_store)


def test_each_class_and_function_is_seen_on_the_way(memory_store: Store) -> None:
    seen: list[object] = []
    artifacts.encode(Holder(path=Path("x"), call=sha256_of), memory_store, see=seen.append)
    assert {Holder, type(Path()), sha256_of} <= {obj for obj in seen if callable(obj)}


@pytest.mark.parametrize(
    ("obj", "path"),
    [
        pytest.param(LOCK, "model", id="itself"),
        pytest.param(Holder(a=1, connection=LOCK), "model.connection", id="attribute"),
        pytest.param(
            Holder(steps=[("scale", 1), ("fit", Holder(lock=LOCK))]),
            "model.steps[1][1].lock",
            id="deep",
        ),
        pytest.param({"x": {"y": LOCK}}, "model['x']['y']", id="dict"),
        pytest.param(Slotted(LOCK), "model.handle", id="slots"),
        pytest.param(Careful(), "model.cache['a']", id="own-getstate"),
        pytest.param(Holder(lock=LOCK).method, "model.__self__.lock", id="bound-method"),
        pytest.param(closing_over(LOCK), "model variable 'value'", id="closure"),
        pytest.param(functools.partial(print, LOCK), "model argument 0", id="partial"),
        pytest.param(Holder(part=Stubborn()), "model.part", id="own-reduce"),
        pytest.param((x for x in [1]), "model", id="generator"),
    ],
)
def test_what_cannot_be_pickled_is_named(memory_store: Store, obj: Any, path: str) -> None:
    with pytest.raises(SerializationError) as caught:
        artifacts.encode(obj, memory_store)
    assert str(caught.value).startswith(f"{path} cannot be pickled: it is a ")
    assert "__getstate__" in str(caught.value)
    assert caught.value.__cause__ is not None
    assert memory_store.folder.names("blobs") == []


def test_a_global_of_a_function_from_main_is_named() -> None:
    space: dict[str, Any] = {"__name__": "__main__", "engine": LOCK}
    exec("def predict(x):\n    return [engine for _ in x]", space)
    assert find_culprit(space["predict"], "predict").path == "predict global 'engine'"


def test_a_circle_is_searched_once() -> None:
    circle = Holder(lock=LOCK)
    circle.itself = circle  # type: ignore[attr-defined]  # any attribute may be set
    assert find_culprit(circle, "model").path == "model.lock"


def test_what_is_too_deep_says_so(memory_store: Store) -> None:
    deep: list[Any] = []
    for _ in range(10 * sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(SerializationError, match="nested too deeply"):
        artifacts.encode(deep, memory_store)
    while deep:  # taken apart here, or freeing it would recurse as deeply
        deep = deep.pop()


def test_a_full_store_is_not_taken_for_an_unpicklable_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        artifacts.encode({"a": 1}, Store(str(tmp_path / "store")))


@pytest.fixture
def passing_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "passing_module.py").write_text("class Model:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    import passing_module  # type: ignore[import-not-found]  # written above

    yield passing_module
    sys.modules.pop("passing_module", None)


def test_code_that_is_not_here_is_a_dependency_error(
    memory_store: Store, passing_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = artifacts.encode(passing_module.Model(), memory_store)
    monkeypatch.delitem(sys.modules, "passing_module")
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(
        DependencyError, match=r"passing_module\.Model cannot be.*No module.*modules=\[\.\.\.\]"
    ):
        artifacts.decode(artifact, memory_store)


@pytest.mark.parametrize(
    "source, words",
    [
        pytest.param(
            "class Other: pass",
            ["passing_module.Model cannot be", "Can't get attribute 'Model'", "modules=[...]"],
            id="a class that moved",
        ),
        pytest.param(
            "raise RuntimeError('no licence file')",
            ["passing_module.Model cannot be", "RuntimeError: no licence file"],
            id="a module that fails at import",
        ),
        pytest.param(
            # What torch says where it loads a CUDA tensor and finds no device.
            "class Model:\n"
            "    def __setstate__(self, state):\n"
            "        raise RuntimeError('Attempting to deserialize object on a CUDA device but '\n"
            "            'torch.cuda.is_available() is False. If you are running on ...')",
            ["passing_module.Model needs a GPU", "resources: {num_gpus: 1}", "to the CPU before"],
            id="a model that needs a GPU",
        ),
    ],
)
def test_code_that_differs_here_is_a_dependency_error(
    memory_store: Store,
    passing_module: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    words: list[str],
) -> None:
    model = passing_module.Model()
    model.weight = 1.0
    artifact = artifacts.encode(model, memory_store)
    monkeypatch.delitem(sys.modules, "passing_module")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "passing_module.py").write_text(source)
    importlib.invalidate_caches()
    with pytest.raises(DependencyError) as caught:
        artifacts.decode(artifact, memory_store)
    assert all(word in str(caught.value) for word in words), caught.value


def test_changed_bytes_are_never_unpickled(memory_store: Store) -> None:
    artifact = artifacts.encode({"a": 1}, memory_store)
    (blob,) = artifact.blobs
    path = f"blobs/{blob.sha256[:2]}/{blob.sha256}"
    other = artifacts.encode(print, memory_store).blobs[0]
    memory_store.folder.write(
        path, memory_store.folder.read(f"blobs/{other.sha256[:2]}/{other.sha256}")
    )
    with pytest.raises(IntegrityError, match="was changed after it was saved"):
        artifacts.decode(artifact, memory_store)


def test_an_unknown_codec_says_to_upgrade(memory_store: Store) -> None:
    artifact = artifacts.encode(1, memory_store)
    newer = msgspec.structs.replace(artifact, codec="holographic")
    with pytest.raises(IntegrityError, match=r"codec 'holographic'.*upgrade model-envelope"):
        artifacts.decode(newer, memory_store)
