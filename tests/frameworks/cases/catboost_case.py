import pickle
import tempfile
from pathlib import Path

import catboost
import numpy as np
import pandas as pd
from saving import save
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(300, 4)), columns=list("abcd"))
y = (X["a"] > 0).map({True: "yes", False: "no"})
options = {"iterations": 8, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
model = catboost.CatBoostClassifier(**options).fit(X, y)
pipeline = make_pipeline(StandardScaler(), catboost.CatBoostRegressor(**options)).fit(X, X["b"])

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.cbm"
    model.save_model(str(path))
    cbm = path.read_bytes()
save(
    {"classifier": (model, "predict", X), "pipeline": (pipeline, "predict", X)},
    claims={"a pickle holds the cbm file": cbm in pickle.dumps(model, protocol=5)},
)
