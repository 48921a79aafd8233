"""XGBoost's Booster as UBJSON, which later versions read; a pickle of it is a memory snapshot.

XGBClassifier and the like are pickled, with the Booster inside them written here. UBJSON loses how
many threads and which device predict uses: after load_model both are the defaults. They are state.
"""

from __future__ import annotations

import json
from typing import Any

from envelope.artifacts.parts import Parts

NAME = "xgboost"
TYPES = frozenset({"xgboost.core.Booster"})
KEPT = ("nthread", "device")


def take_apart(booster: Any) -> Parts | None:
    from xgboost import Booster

    if type(booster) is not Booster:  # a subclass may hold more than the format does
        return None
    config = json.loads(booster.save_config())["learner"]["generic_param"]
    attributes = {name: value for name, value in vars(booster).items() if name != "handle"}
    state = {"parameters": {name: config[name] for name in KEPT if name in config}}
    return Parts(state=state | {"attributes": attributes}, files=(booster.save_raw("ubj"),))


def build(state: Any, ubj: Any) -> Any:
    from xgboost import Booster

    booster = Booster()
    booster.load_model(bytearray(ubj))
    booster.set_param(state["parameters"])
    vars(booster).update(state["attributes"])
    return booster
