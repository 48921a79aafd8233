import numpy as np
import pandas as pd
import torch
from saving import save

torch.manual_seed(0)
X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 8)).astype("float32")).rename(
    columns=str
)


class Net(torch.nn.Module):
    """Two layers with one weight, a half-precision table, a view, nothing at all, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 8)
        self.second = torch.nn.Linear(8, 8)
        self.second.weight = self.first.weight
        self.table = torch.nn.Embedding(3_000_000, 4, dtype=torch.bfloat16)
        self.register_buffer("whole", torch.arange(24.0))
        self.register_buffer("part", self.whole[8:16])
        self.register_buffer("nothing", torch.empty(0))

    def forward(self, x):
        rows = self.table((x[:, 0].abs() * 1000).long()).float()
        return torch.relu(self.second(torch.tanh(self.first(x)))) + self.part, rows

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        # Both of each pair are still one: a change to the first is seen through the second.
        tied = self.second.weight is self.first.weight
        shared = self.part.untyped_storage().data_ptr() == self.whole.untyped_storage().data_ptr()
        with torch.no_grad():
            out, rows = self(torch.from_numpy(X.to_numpy()))
        return np.hstack([out.numpy(), rows.numpy()]).sum(axis=1) + 100 * tied + 1000 * shared


net = Net().eval()
save({"module": (net, "predict", X)})
