import numpy as np
import pandas as pd
import statsmodels.api as sm
import statsmodels.formula.api as smf
from saving import save
from statsmodels.tsa.statespace.sarimax import SARIMAX

random = np.random.default_rng(0)
X = pd.DataFrame({"age": random.uniform(18, 90, 200), "spend": random.normal(size=200)})
y = X["age"] * 0.1 + np.maximum(X["spend"], 0)
formula = smf.ols("y ~ np.log(age) * spend", data=X.assign(y=y)).fit()
logit = sm.GLM((y > 5).astype(int), sm.add_constant(X), family=sm.families.Binomial()).fit()

months = pd.date_range("2020-01-01", periods=60, freq="MS")
sales = pd.Series(
    10 + np.sin(np.arange(60) * np.pi / 6) + 0.1 * random.normal(size=60), index=months
)
season = SARIMAX(sales, order=(1, 0, 0), seasonal_order=(1, 0, 0, 12), trend="c").fit(disp=False)


def by_formula(X: pd.DataFrame) -> pd.Series:
    return formula.predict(X)


def probability(X: pd.DataFrame) -> np.ndarray:
    return np.asarray(logit.predict(sm.add_constant(X, has_constant="add")))


def forecast(months: int) -> pd.Series:
    return season.forecast(months).reset_index(drop=True)


save(
    {
        "formula": (None, by_formula, X),
        "glm": (None, probability, X),
        "series": (None, forecast, {"months": 6}),
    }
)
