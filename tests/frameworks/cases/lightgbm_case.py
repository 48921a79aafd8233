import lightgbm
import numpy as np
import pandas as pd
from saving import save
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(random.normal(size=(300, 4)), columns=list("abcd"))
y = (X["a"] > 0).astype(int)
options = {"n_estimators": 5, "verbose": -1, "n_jobs": 1}
classifier = lightgbm.LGBMClassifier(**options).fit(X, y)
pipeline = make_pipeline(StandardScaler(), lightgbm.LGBMRegressor(**options)).fit(X, X["b"])
save(
    {
        "classifier": (classifier, "predict_proba", X),
        "pipeline": (pipeline, "predict", X),
        "booster": (classifier.booster_, "predict", X),
    }
)
