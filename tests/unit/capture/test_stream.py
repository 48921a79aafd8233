import pickle

import cloudpickle
import numpy as np
import pytest

from envelope.capture.reach import reach_code
from envelope.capture.stream import GlobalsSeen, read_stream


class Watched(cloudpickle.Pickler):
    def __init__(self, file, seen):
        super().__init__(file, protocol=5)
        self.seen = seen

    def reducer_override(self, obj):
        self.seen.see(obj)
        return super().reducer_override(obj)


def closure():
    import decimal

    def lazy(x):
        import json.decoder
        from xml import dom

        return np.sum(x), decimal.Decimal(1), json, dom

    return lazy


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_modules_of_globals_in_every_protocol(protocol):
    stream = pickle.dumps([np.arange(3), np.float64(1.0), np.dtype("i4")], protocol=protocol)
    assert {name.partition(".")[0] for name in read_stream(stream).modules} >= {"numpy"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a": [1, 2.5, None, True, "x", b"y", (1, 2, 3, 4)]}, id="plain values"),
        pytest.param([{1, 2}, frozenset({3}), bytearray(b"z" * 300)], id="sets and bytearray"),
        pytest.param([[]] * 300, id="many references to one object"),
        pytest.param("x" * 70_000, id="long text"),
        pytest.param(2**100, id="long integer"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_plain_values_refer_to_nothing_importable(value, protocol):
    modules = read_stream(pickle.dumps(value, protocol=protocol)).modules
    assert modules <= {"builtins", "__builtin__", "_codecs"}


def test_code_of_functions_by_value_is_found():
    found = read_stream(cloudpickle.dumps(closure()))
    assert [code.co_name for code in found.codes] == ["lazy"]
    reached = {item.module for item in reach_code(found.codes[0], package=None, via="test")}
    assert {"json.decoder", "xml", "xml.dom"} <= reached
    assert {"numpy", "decimal"} <= found.modules


def test_not_a_pickle_is_an_error():
    with pytest.raises(ValueError):
        read_stream(b"\x93not a pickle")


def test_watching_the_pickler_sees_what_the_stream_says(tmp_path):
    seen = GlobalsSeen()
    path = tmp_path / "model.pkl"
    with path.open("wb") as file:
        Watched(file, seen).dump({"f": closure(), "a": np.arange(10), "t": np.dtype("f4")})
    roots = {name.partition(".")[0] for name in read_stream(path.read_bytes()).modules}
    assert roots - {"cloudpickle", "builtins"} <= {name.partition(".")[0] for name in seen}


def test_a_ufunc_is_of_the_library_that_made_it(tmp_path):
    from scipy.special import expit

    seen = GlobalsSeen()
    with (tmp_path / "model.pkl").open("wb") as file:
        Watched(file, seen).dump([expit, np.add])
    assert {"scipy", "numpy"} <= {name.partition(".")[0] for name in seen}
