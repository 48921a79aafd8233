"""The whole story on one screen: train, save, deploy by a tag, swap under load, score a table.

The data is the RAND Health Insurance Experiment (20,190 person-years), which ships inside the
statsmodels package: how often does a person see a doctor in a year?
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click
import httpx

import envelope as me
from envelope.errors import ClusterError, ConfigError
from envelope.settings import Settings
from ray_runtime.cluster import pages_url

if TYPE_CHECKING:
    import pandas as pd

DEPLOYMENT = "doctor_visits"
TARGET = "mdvis"
REQUESTS_PER_S = 100
LIVE_TIMEOUT_S = 180


def run_demo(settings: Settings) -> None:
    """Run every step as its user would type it; the first that fails raises an EnvelopeError."""
    started = time.monotonic()
    folder = settings.home / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    url = f"http://127.0.0.1:{settings.serve_port}/{DEPLOYMENT}"

    _heading("1. Start the platform, and say what is wanted")
    _type(settings, "envelope up")
    _type(settings, f"envelope apply -f {quickstart_path()}")

    _heading("2. Train a model and save it: one call")
    table = _load_table(folder / "randhie.parquet")
    first = _train_and_save(table, "linear")

    _heading("3. Tag it; the controller deploys it")
    _tag_and_wait(settings, first, url)

    _heading("4. Ask it over HTTP")
    _query(url, table)

    _heading("5. Train a better one; swap it in under load")
    second = _train_and_save(table, "boosted")
    _swap_under_load(settings, second, url, table)

    _heading("6. Score the table with the same envelope")
    _score(settings, folder)

    _heading(f"Done in {time.monotonic() - started:.0f} s")
    for what, address in worth_a_look(pages_url(settings), first.id, second.id).items():
        _open(address)
        click.echo(f"  {what:<22} {address}")
    click.echo(f"  docs and try-it page   {url}/docs")
    click.echo(f"  what is live, and why  envelope explain {DEPLOYMENT}")
    click.echo(f"  what was live          envelope releases {DEPLOYMENT}")
    click.echo(f"  logs                   {settings.home / 'logs'}")
    click.echo("  stop everything        envelope down   (from a checkout: make down)")


def worth_a_look(pages: str, first: str, second: str) -> dict[str, str]:
    """Return what -> address of the pages that the demo has filled. first, second: envelopes."""
    same_name = f"tags.canonical_name = '{DEPLOYMENT}'"
    metrics = urlencode({"q": same_name, "names": "explained_deviance", "by": "kind"})
    return {
        "the models": f"{pages}/models?{urlencode({'q': same_name})}",
        "the better one": f"{pages}/models/{second}",
        "what it changed": f"{pages}/diff?{urlencode({'id': [first, second]}, doseq=True)}",
        "their metrics": f"{pages}/metrics?{metrics}",
        "the rule": f"{pages}/rules",
        "what is live": f"{pages}/deployments/{DEPLOYMENT}",
    }


def quickstart_path() -> Path:
    """Return the YAML that the demo applies: beside this module in the wheel, or the checkout's."""
    beside = Path(__file__).with_name("quickstart.yaml")
    return beside if beside.exists() else Path(__file__).parent.parent / "configs/quickstart.yaml"


def _load_table(path: Path) -> pd.DataFrame:
    try:
        from statsmodels.datasets import randhie
    except ImportError as exc:
        raise ConfigError(
            "the demo's table and models come from statsmodels and scikit-learn, which are not "
            "installed; `pip install 'model-envelope[controller,demo]'`"
        ) from exc
    table: pd.DataFrame = randhie.load_pandas().data
    table.to_parquet(path, index=False)
    return table


def _train_and_save(table: pd.DataFrame, kind: str) -> me.Envelope:
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import d2_tweedie_score
    from sklearn.model_selection import train_test_split

    train, test = train_test_split(table, random_state=0)
    features = [name for name in table if name != TARGET]
    hyperparameters: dict[str, Any]
    if kind == "linear":
        hyperparameters = {"fit_intercept": True}
        model = LinearRegression(**hyperparameters)
    else:
        hyperparameters = {"n_estimators": 60, "max_depth": 4, "random_state": 0}
        model = GradientBoostingRegressor(**hyperparameters)
    model.fit(train[features], train[TARGET])
    explained = d2_tweedie_score(test[TARGET], model.predict(test[features]).clip(0.01), power=1)

    began = time.perf_counter()
    saved = me.save_model(
        name=f"doctor visits, {kind}",
        description="Expected visits to a doctor in a year",
        model=model,
        query_function="predict",
        api_input=train[features],
        tags={"canonical_name": DEPLOYMENT, "kind": kind},
        hyperparameters=hyperparameters,
    )
    seconds = time.perf_counter() - began
    saved.log_metrics(explained_deviance=explained)
    click.echo(
        f"  saved {type(model).__name__} as {saved.id} in {seconds:.2f} s "
        f"(explained deviance {explained:.3f})"
    )
    return saved


def _tag_and_wait(settings: Settings, saved: me.Envelope, url: str) -> None:
    began = time.monotonic()
    _type(settings, f"envelope tag {saved.id} passes_tests=true")
    with contextlib.closing(httpx.Client(timeout=5)) as client:
        while _answering(client, url) != saved.id:
            if time.monotonic() - began > LIVE_TIMEOUT_S:
                raise ClusterError(
                    f"{saved.id} is not live after {LIVE_TIMEOUT_S} s; "
                    f"`envelope explain {DEPLOYMENT}` says why"
                )
            time.sleep(0.1)
    click.echo(f"  live at {url} {time.monotonic() - began:.1f} s after the tag")


def _answering(client: httpx.Client, url: str) -> str | None:
    try:
        envelope_id: str | None = client.get(url).headers.get("X-Envelope-Id")
    except httpx.HTTPError:
        return None
    return envelope_id


def _query(url: str, table: pd.DataFrame) -> None:
    row = table.drop(columns=TARGET).head(1).to_json(orient="records")[1:-1]
    click.echo(
        f"  $ curl -s {url}/v0/query -H 'Content-Type: application/json' \\\n      -d '{row}'"
    )
    answer = httpx.post(
        f"{url}/v0/query", content=row, headers={"Content-Type": "application/json"}
    )
    click.echo(f"  {answer.text}")
    wrong = httpx.post(f"{url}/v0/query", json={"lncoins": "none"})
    click.echo(f"  and a wrong request, {wrong.status_code}, with every fault at once:")
    for fault in wrong.json().get("faults", [])[:3]:
        click.echo(f"    {fault['path']}: expected {fault['expected']}, got {fault['got']}")


@dataclass(slots=True)
class _Load:
    """What came back while the swap went on."""

    answered: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    slowest_s: float = 0.0


def _swap_under_load(settings: Settings, saved: me.Envelope, url: str, table: pd.DataFrame) -> None:
    body = table.drop(columns=TARGET).head(1).to_json(orient="records")[1:-1].encode()
    began = time.monotonic()
    _type(settings, f"envelope tag {saved.id} passes_tests=true")
    load = asyncio.run(_load_until_live(url, body, saved.id))
    total = sum(load.answered.values()) + load.failed
    click.echo(f"  {total} requests at {REQUESTS_PER_S}/s while it was swapped:")
    click.echo(f"  {load.failed} failed, slowest {load.slowest_s * 1000:.0f} ms")
    for envelope_id, count in load.answered.items():
        click.echo(f"    {count:5d} answered by {envelope_id}")
    if saved.id not in load.answered:
        raise ClusterError(
            f"{saved.id} did not answer within {time.monotonic() - began:.0f} s; "
            f"`envelope explain {DEPLOYMENT}` says why"
        )


async def _load_until_live(url: str, body: bytes, envelope_id: str) -> _Load:
    """Send a steady load until the new envelope has answered for two seconds."""
    load = _Load()
    headers = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(timeout=30) as client:

        async def ask() -> None:
            sent = time.monotonic()
            try:
                answer = await client.post(f"{url}/v0/query", content=body, headers=headers)
            except httpx.HTTPError:
                load.failed += 1
                return
            load.slowest_s = max(load.slowest_s, time.monotonic() - sent)
            if answer.is_success:
                load.answered[answer.headers["X-Envelope-Id"]] += 1
            else:
                load.failed += 1

        async with asyncio.TaskGroup() as tasks:
            async for _ in _ticks(REQUESTS_PER_S, LIVE_TIMEOUT_S):
                tasks.create_task(ask())
                if load.answered[envelope_id] > 2 * REQUESTS_PER_S:
                    break
    load.answered += Counter()  # drops the zero that the look-up above may have left
    return load


async def _ticks(per_s: int, limit_s: float) -> Any:
    began = time.monotonic()
    for tick in range(int(per_s * limit_s)):
        await asyncio.sleep(max(0.0, began + tick / per_s - time.monotonic()))
        yield tick


def _score(settings: Settings, folder: Path) -> None:
    job = folder / "job"
    job.mkdir(exist_ok=True)
    (job / "quickstart.yaml").write_text(quickstart_path().read_text(encoding="utf-8"))
    _type(
        settings,
        f'eval "$(envelope env)"; ray job submit --working-dir {job} -- '
        "python -m ray_runtime.batch quickstart.yaml score-doctor-visits",
        show=lambda line: "rows" in line or "succeeded" in line,
    )
    scored = me.read_table(str(folder / "expected_visits"))
    click.echo(f"  me.read_table('{folder / 'expected_visits'}')  # {len(scored):,} rows")
    for line in scored.head(3).to_string().splitlines():
        click.echo(f"  {line}")


def _open(address: str) -> None:
    try:
        httpx.get(address, timeout=30).raise_for_status()
    except httpx.HTTPError as exc:
        raise ClusterError(f"{address}: {exc}; the log of the controller says why") from exc


def _heading(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _type(settings: Settings, command: str, *, show: Any = lambda line: True) -> None:
    """Run a command as a user would, printing what it prints; raise when it fails."""
    click.echo(f"  $ {command}")
    tail: list[str] = []
    for line in _lines(settings, command, tail):
        if show(line):
            click.echo(f"    {line}")
    if tail:
        raise ClusterError(f"`{command}` failed:\n" + "\n".join(tail))


def _lines(settings: Settings, command: str, tail: list[str]) -> Iterator[str]:
    """Yield the command's output line by line; leave its last lines in `tail` if it fails."""
    environment = os.environ | {
        "ENVELOPE_HOME": str(settings.home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    last: list[str] = []
    with subprocess.Popen(
        ["bash", "-c", command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = [*last[-30:], line.rstrip()]
            yield line.rstrip()
    if process.returncode:
        tail.extend(last or [f"exit status {process.returncode}"])
