import keras
import numpy as np
import pandas as pd
from saving import save

keras.utils.set_random_seed(0)
X = pd.DataFrame(
    np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), columns=list("abcd")
)


class Scaled(keras.layers.Layer):
    def __init__(self, factor=2.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return super().get_config() | {"factor": self.factor}


def bent(x):
    return keras.ops.relu(x) - 0.1


def loss(truth, answer):
    return keras.ops.mean(keras.ops.square(truth - answer))


net = keras.Sequential(
    [
        keras.layers.Input((4,)),
        keras.layers.Dense(8, activation=bent),
        Scaled(3.0),
        keras.layers.Dense(1),
    ]
)
net.compile(optimizer="adam", loss=loss)
net.fit(X.to_numpy(), X.to_numpy().sum(axis=1), epochs=1, verbose=0)


def predict(X: pd.DataFrame) -> np.ndarray:
    return net(X.to_numpy()).numpy()[:, 0]


save({"network": (None, predict, X)})
