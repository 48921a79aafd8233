import json

import numpy as np
import pandas as pd
import xgboost
from saving import save
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(300, 4)), columns=list("abcd"))
y = (X["a"] + X["b"] ** 2 > 0.5).astype(int)
classifier = xgboost.XGBClassifier(n_estimators=8, early_stopping_rounds=3, n_jobs=1)
classifier.fit(X, y, eval_set=[(X, y)], verbose=False)
pipeline = make_pipeline(StandardScaler(), xgboost.XGBRegressor(n_estimators=5)).fit(X, y)
booster = xgboost.train({"nthread": 1, "objective": "binary:logistic"}, xgboost.DMatrix(X, y), 5)


def score(X: pd.DataFrame) -> np.ndarray:
    return booster.predict(xgboost.DMatrix(X))


def threads(booster):
    return json.loads(booster.save_config())["learner"]["generic_param"]["nthread"]


again = xgboost.Booster()
again.load_model(booster.save_raw("ubj"))
save(
    {
        "classifier": (classifier, "predict_proba", X),
        "pipeline": (pipeline, "predict", X),
        "booster": (None, score, X),
    },
    claims={"UBJSON loses the threads": threads(booster) == "1" and threads(again) == "0"},
)
