import sys
from pathlib import Path

import numpy as np
import pandas as pd
from hamilton import driver
from saving import save

FEATURES = """
import pandas as pd


def per_signup(spend: pd.Series, signups: pd.Series) -> pd.Series:
    return spend / signups


def price(clients: int, discount: float = 0.5) -> float:
    return clients * 10 * discount
"""

folder = Path(sys.argv[1])
(folder / "features.py").write_text(FEATURES)
sys.path.insert(0, str(folder))
import features  # noqa: E402

dr = driver.Builder().with_modules(features).build()
random = np.random.default_rng(0)
X = pd.DataFrame({"spend": random.normal(size=20), "signups": random.integers(1, 9, size=20)})
save(
    {"columns": (dr, "per_signup", X), "values": (dr, "price", {"clients": 3})},
    answers={
        "columns": dr.execute(["per_signup"], inputs=dict(X))["per_signup"],
        "values": dr.execute(["price"], inputs={"clients": 3})["price"],
    },
)
