import numpy as np
import pandas as pd
from saving import save
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

random = np.random.default_rng(0)
X = pd.DataFrame(
    {
        "age": random.integers(18, 90, 200),
        "spend": random.normal(size=200),
        "region": pd.Categorical(random.choice(["US", "EU", "JP"], 200)),
    }
)
y = (X["spend"] > 0).astype(int)
columns = make_column_transformer(
    (StandardScaler(), ["age", "spend"]), (OneHotEncoder(), ["region"])
)
forest = make_pipeline(columns, RandomForestRegressor(n_estimators=5, random_state=0))
boosting = HistGradientBoostingClassifier(max_iter=5, categorical_features="from_dtype")
save(
    {
        "pipeline": (forest.fit(X, X["spend"]), "predict", X),
        "boosting": (boosting.fit(X, y), "predict_proba", X),
    }
)
