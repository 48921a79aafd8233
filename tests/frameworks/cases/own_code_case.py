"""What no index has: a local package with a data file, a class of a notebook, a closure."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.core.interactiveshell import InteractiveShell
from saving import save

folder = Path(sys.argv[1])
package = folder / "our_features"
(package / "tables").mkdir(parents=True)
(package / "__init__.py").write_text("from our_features.build import add\n")
(package / "tables" / "rates.csv").write_text("region,rate\nUS,1.5\nEU,2.5\n")
(package / "build.py").write_text(
    """
from pathlib import Path

import pandas as pd

RATES = pd.read_csv(Path(__file__).parent / "tables" / "rates.csv").set_index("region")["rate"]


def add(frame):
    return frame.assign(rate=frame["region"].map(RATES))
"""
)
sys.path.insert(0, str(folder))
import our_features  # noqa: E402

random = np.random.default_rng(0)
X = pd.DataFrame({"region": ["US", "EU"] * 20, "spend": random.normal(size=40)})


def with_package(X: pd.DataFrame) -> pd.Series:
    whole = our_features.add(X)
    return whole["rate"] * whole["spend"]


CELL = """
from sklearn.linear_model import Ridge


class Shrunk:
    def __init__(self, alpha):
        self.ridge = Ridge(alpha=alpha)

    def fit(self, X, y):
        self.ridge.fit(X[["spend"]], y)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        import math

        return self.ridge.predict(X[["spend"]]) * math.pi
"""
notebook = InteractiveShell.instance(user_ns=globals(), user_module=sys.modules["__main__"])
notebook.run_cell(CELL).raise_error()
of_notebook = Shrunk(0.5).fit(X, X["spend"] * 2)  # noqa: F821 # the cell defines it


def scaler(factor):
    from scipy.special import expit

    def scaled(X: pd.DataFrame) -> np.ndarray:
        return expit(X["spend"].to_numpy() * factor)

    return scaled


save(
    {
        "package": (None, with_package, X),
        "notebook": (of_notebook, "predict", X),
        "closure": (None, scaler(3.0), X),
    },
    modules={"package": [our_features]},
)
