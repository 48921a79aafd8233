import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from saving import save

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(40, 3)).astype("float32"), columns=list("abc"))
weights = random.normal(size=(3, 1)).astype("float32")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
    [numpy_helper.from_array(weights, "w")],
)
proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
path = Path(tempfile.mkdtemp()) / "linear.onnx"
inline = proto.__class__.FromString(proto.SerializeToString())
onnx.save(proto, path, save_as_external_data=True, location="linear.onnx.data", size_threshold=0)


class Session:
    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        assert self.session.get_session_options().intra_op_num_threads == 1
        return self.session.run(None, {"x": X.to_numpy()})[0][:, 0]


def by_proto(X: pd.DataFrame) -> np.ndarray:
    return ReferenceEvaluator(inline).run(None, {"x": X.to_numpy()})[0][:, 0]


def by_path(X: pd.DataFrame) -> np.ndarray:
    return onnxruntime.InferenceSession(path).run(None, {"x": X.to_numpy()})[0][:, 0]


save(
    {
        "session": (Session(inline.SerializeToString()), "predict", X),
        "session_of_file": (Session(str(path)), "predict", X),
        "path": (None, by_path, X),
        "proto": (None, by_proto, X),
    }
)
