"""The same functions behind FastAPI, as one would write it by hand."""

import numpy as np
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel
from served import dot, model, price


class Row(BaseModel):
    a: float
    b: float
    c: float
    d: float
    e: float
    f: float
    g: float
    h: float


class Values(BaseModel):
    values: list[float]


class House(BaseModel):
    area: float
    rooms: int
    district: str
    is_new: bool = False


app = FastAPI()


@app.post("/frame")
async def frame(row: Row) -> float:
    return float(model.predict(pd.DataFrame([row.model_dump()]))[0])


@app.post("/numpy")
async def numpy(body: Values) -> float:
    return dot(np.asarray(body.values))


@app.post("/primitives")
async def primitives(body: House) -> float:
    return price(body.area, body.rooms, body.district, body.is_new)
