"""The DataFrame model behind LitServe, its batching on: `python litserve_app.py PORT`."""

import sys
from typing import Any

import litserve
import pandas as pd
from served import model


class Frame(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = model

    def decode_request(self, request: dict[str, float]) -> dict[str, float]:
        return request

    def batch(self, inputs: list[dict[str, float]]) -> pd.DataFrame:
        return pd.DataFrame(inputs)

    def predict(self, inputs: pd.DataFrame) -> Any:
        return self.model.predict(inputs)

    def unbatch(self, output: Any) -> list[float]:
        return list(output.tolist())

    def encode_response(self, output: float) -> float:
        return output


if __name__ == "__main__":
    # A timeout of 0 keeps a core busy while nobody asks.
    api = Frame(max_batch_size=64, batch_timeout=0.002, api_path="/predict")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="error",
        access_log=False,
        generate_client_file=False,
    )
