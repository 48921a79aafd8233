"""The DataFrame model behind BentoML, its batching on: `bentoml serve bentoml_app:Frame`.

Rows come as objects: BentoML 1.4.40 cannot batch DataFrames (it adds a shape to a number).
"""

import bentoml
import pandas as pd
from served import model


@bentoml.service(workers=1, traffic={"timeout": 60})
class Frame:
    @bentoml.api(batchable=True, max_batch_size=64)
    def predict(self, rows: list[dict[str, float]]) -> list[float]:
        return list(model.predict(pd.DataFrame(rows)).tolist())
