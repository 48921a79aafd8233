"""Hamilton drivers as envelopes: saved, loaded in another process, answered as the driver does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from hamilton import ad_hoc_utils, async_driver, base, driver

import envelope as me
from envelope.errors import EnvelopeError, SchemaError

CLIENTS = """
import pandas as pd
from hamilton.function_modifiers import config, extract_columns


def spend_per_signup(spend: pd.Series, signups: pd.Series) -> pd.Series:
    "What one signup costs."
    return spend / signups


def doubled(spend_per_signup: pd.Series, factor: float = 2.0) -> pd.Series:
    return spend_per_signup * factor


def mean_spend(spend: pd.Series) -> float:
    return float(spend.mean())


@config.when(region="US")
def price__us(clients: int, discount: float = 0.5) -> float:
    return clients * 10 * discount


@config.when_not(region="US")
def price__other(clients: int) -> float:
    return clients * 1.0


def parts(price: float) -> list[float]:
    return [price, price / 2]
"""
RUNGS = 600  # a pickle that follows references from node to node stops at about 300

ELSEWHERE = """
import json, sys
import envelope as me

loaded = me.get(sys.argv[1]).load()
answer = loaded.default.query(**json.loads(sys.argv[2]))
print(json.dumps({"answer": answer, "file": sys.modules["clients"].__file__}))
"""


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of functions in a file, as users have them."""
    (tmp_path / "clients.py").write_text(CLIENTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("clients")
    del sys.modules["clients"]


@pytest.fixture
def us(clients: ModuleType) -> Any:
    return driver.Builder().with_modules(clients).with_config({"region": "US"}).build()


FRAME = pd.DataFrame({"spend": [10.0 + n for n in range(12)], "signups": range(1, 13)})


def test_a_driver_is_saved_with_types_of_its_functions_and_its_modules(
    us: Any, tmp_path: Path
) -> None:
    env = me.save_model(name="price", model=us, query_function="price", api_input={"clients": 3})

    assert env.query(clients=4) == us.execute(["price"], inputs={"clients": 4})["price"]
    assert env.query(clients=4, discount=1.0) == 40.0
    with pytest.raises(SchemaError, match=r"clients: expected int, got str"):
        env.query(clients="many")
    assert [module.name for module in env.manifest.environment.modules] == ["clients"]
    locked = {package.name for package in env.manifest.environment.packages}
    assert "apache-hamilton" in locked
    (tmp_path / "clients.py").unlink()
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, env.id, json.dumps({"clients": 4})],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    found = json.loads(done.stdout)
    assert found["answer"] == 20.0
    assert not found["file"].startswith(str(tmp_path / "clients"))


def test_columns_of_one_frame_are_row_wise_and_others_are_left_out(us: Any) -> None:
    train = FRAME.assign(label=1)
    env = me.save_model(name="ltv", model=us, query_function="spend_per_signup", api_input=train)

    function = env.functions["spend_per_signup"]
    assert function.row_wise.is_row_wise
    assert function.description == "What one signup costs."
    wanted = us.execute(["spend_per_signup"], inputs=dict(FRAME))["spend_per_signup"]
    assert env.query(FRAME).tolist() == wanted.tolist()
    with pytest.raises(SchemaError, match="label"):
        env.query(train)


def test_several_variables_over_a_frame_are_its_columns(us: Any) -> None:
    env = me.save_model(
        name="ltv", model=us, query_function=["spend_per_signup", "doubled"], api_input=FRAME
    )

    assert env.functions["execute"].row_wise.is_row_wise
    answer = env.query(FRAME.head(2))
    assert answer.to_dict("list") == {"spend_per_signup": [10.0, 5.5], "doubled": [20.0, 11.0]}


def test_several_variables_by_name_are_a_record(us: Any) -> None:
    env = me.save_model(
        name="prices", model=us, query_function=["price", "parts"], api_input={"clients": 3}
    )

    assert env.query(clients=4) == {"price": 20.0, "parts": [20.0, 10.0]}


def test_another_variable_is_added_later(us: Any) -> None:
    env = me.save_model(name="ltv", model=us, query_function="doubled", api_input=FRAME)
    env.add_query_function("mean_spend", api_input=FRAME)

    assert env.load().function("mean_spend").query(FRAME[["spend"]]) == 15.5
    assert not env.functions["mean_spend"].row_wise.is_row_wise


def test_a_driver_that_builds_frames_and_notebook_functions(home: Path) -> None:
    def total(amounts: list[int]) -> int:
        return sum(amounts)

    module = ad_hoc_utils.create_temporary_module(total, module_name="of_a_notebook")
    flow = driver.Driver({}, module, adapter=base.SimplePythonGraphAdapter(base.DictResult()))
    env = me.save_model(name="total", model=flow, query_function="total", api_input=[1, 2])

    del sys.modules["of_a_notebook"]
    assert env.query([3, 4]) == 7
    assert env.manifest.environment.modules == ()


def test_a_ladder_of_variables_is_no_deep_pickle(home: Path) -> None:
    lines = [
        f"def v{n}(x{n}: int, x{n + 1}: int) -> int: return x{n} + x{n + 1}" for n in range(RUNGS)
    ]
    module = ad_hoc_utils.module_from_source("\n".join(lines))
    flow = driver.Builder().with_modules(module).build()
    env = me.save_model(name="v", model=flow, query_function="v0", api_input={"x0": 1, "x1": 2})

    assert env.query(x0=2, x1=3) == 5


@pytest.mark.parametrize(
    "asked, error, message",
    [
        pytest.param("prise", EnvelopeError, "does not compute 'prise'.*price", id="misspelt"),
        pytest.param([], EnvelopeError, "does not compute no variable", id="none"),
        pytest.param("doubled", SchemaError, "pd.Series|Series, which does not say", id="no-types"),
    ],
)
def test_what_cannot_be_saved_says_why(us: Any, asked: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        me.save_model(name="bad", model=us, query_function=asked)


def test_an_async_driver_is_refused(clients: ModuleType) -> None:
    with pytest.raises(EnvelopeError, match="AsyncDriver"):
        me.save_model(
            name="bad", model=async_driver.AsyncDriver({}, clients), query_function="price"
        )
