"""The controller at scale: a million envelopes with five tags each, and 10,000 rules.

`python benchmarks/controller.py` measures on SQLite and on PostgreSQL: a turn that follows one
change and records the release that comes of it; `me.latest` by three tags; and the controller's
memory above its imports. Serve is the tests' fake one: it is not what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))  # before this folder: `controller`
from peers import machine
from sqlalchemy import Connection, text

import envelope as me
from controller.loop import Controller
from controller.releases import Releases
from envelope.config import DesiredState
from envelope.registry import open_registry
from tests.fakes import Behaviour, FakeClock, FakeServe
from tests.integration.controller_process import prepare, read_function
from tests.integration.databases import postgres
from tests.manifests import a_manifest

MODELS, REGIONS, DEPLOYMENTS = 2000, 50, 300
CHANGES, SEARCHES = 20, 200
SHA = "c" * 64
# Envelope n, of all of them: a hundred of each model in each region, every third approved.
TAGS = {
    "canonical_name": f"'model_' || (n % {MODELS})",
    "region": f"'r' || ((n / {MODELS}) % {REGIONS})",
    "passes_tests": "CASE WHEN (n / 7) % 3 = 0 THEN 'true' ELSE 'false' END",
    "team": "'team_' || (n % 100)",
    "run": "'run_' || n",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envelopes", type=int, default=1_000_000)
    parser.add_argument("--rules", type=int, default=10_000)
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--fill", help="fill the registry at this URL, and end")
    parser.add_argument("--measure", help="measure at the registry at this URL, and end")
    options = parser.parse_args()
    if options.fill:
        fill(options.fill, options.envelopes, options.rules)
    elif options.measure:
        print(json.dumps(measure(options.measure, options.envelopes, options.rules)))
    else:
        print(
            machine(),
            f"{options.envelopes:,} envelopes x {len(TAGS)} tags, {options.rules:,} rules",
        )
        wanted = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
        for name in wanted:
            with database(name) as url:
                again("--fill", url, options)
                print(name, again("--measure", url, options), flush=True)


def again(what: str, url: str, options: argparse.Namespace) -> str:
    """In a process of its own, so that memory is of what is measured alone."""
    sizes = ["--envelopes", str(options.envelopes), "--rules", str(options.rules)]
    command = [sys.executable, __file__, what, url, *sizes]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def database(name: str) -> Iterator[str]:
    if name == "postgresql":
        with postgres(is_durable=True) as server:
            yield server.registry_url()
    else:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            yield f"sqlite:///{folder}/registry.db"


# --- filling


def fill(url: str, envelopes: int, rules: int) -> None:
    began = time.monotonic()
    registry = open_registry(url)
    first = registry.register(a_manifest(), SHA, actor="ann")
    with registry.database.writing() as connection:
        insert_envelopes(connection, registry.database.is_sqlite, envelopes, first.id)
    copied_s = time.monotonic() - began
    registry.apply_state(DesiredState.model_validate(state(rules)), actor="ann")
    registry.close()
    applied_s = time.monotonic() - began - copied_s
    print(f"filled in {copied_s:.0f} s, rules applied in {applied_s:.0f} s", file=sys.stderr)


def insert_envelopes(connection: Connection, is_sqlite: bool, count: int, like: str) -> None:
    """Copies of one envelope, a second apart, the last of them a day ago; each with its tags."""

    def run(statement: str) -> None:
        connection.execute(text(statement))

    if is_sqlite:
        numbers = (
            "WITH RECURSIVE numbers(n) AS "
            f"(SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count - 1})"
        )
        envelope_id, source = "printf('00%024d', n)", "numbers"
        ago = f"created_at - (86400 + {count} - n) * 1000000"
    else:
        numbers = f"WITH numbers AS (SELECT generate_series(0, {count - 1}) AS n)"
        envelope_id, source = "'00' || lpad(n::text, 24, '0')", "numbers"
        ago = f"created_at - (86400 + {count} - n) * interval '1 second'"
    run("DROP INDEX tags_by_value")
    columns = (
        "name, description, created_by, manifest_sha256, default_function, python_version, "
        "environment_sha256"
    )
    run(
        f"INSERT INTO envelopes (id, created_at, {columns}) {numbers} SELECT {envelope_id}, {ago}, "
        f"{columns} FROM {source}, envelopes WHERE id = '{like}'"
    )
    run(
        "INSERT INTO functions (envelope_id, name, sha256, added_at, added_by) "
        "SELECT envelopes.id, functions.name, sha256, added_at, added_by FROM functions, envelopes "
        f"WHERE envelope_id = '{like}' AND envelopes.id <> '{like}'"
    )
    facts = "path, kind, text, long_text, number, version_key"
    run(
        f"INSERT INTO facts (subject, {facts}) SELECT envelopes.id, {facts} "
        "FROM facts, envelopes WHERE path = 'default_function' "
        f"AND subject = '{like}' AND envelopes.id <> '{like}'"
    )
    for key, value in TAGS.items():
        run(
            f"INSERT INTO tags (envelope_id, key, value, registered_at) {numbers} SELECT id, "
            f"'{key}', {value}, created_at FROM {source} JOIN envelopes ON id = {envelope_id}"
        )
    run("CREATE INDEX tags_by_value ON tags (key, value, registered_at, envelope_id)")
    run("ANALYZE")


def state(rules: int) -> dict[str, object]:
    return {
        "deployments": {f"d{n}": {} for n in range(DEPLOYMENTS)},
        "rules": {
            f"rule-{n}": {"query": query(n % MODELS, n // MODELS), "deploy_to": f"d{n % 300}"}
            for n in range(rules)
        },
    }


def query(model: int, region: int) -> str:
    return (
        f"tags.canonical_name = 'model_{model}' and tags.region = 'r{region}' "
        "and tags.passes_tests = 'true'"
    )


# --- measuring


def measure(url: str, envelopes: int, rules: int) -> dict[str, float]:
    process = psutil.Process()
    before = process.memory_info().rss
    registry = open_registry(url)
    clock = FakeClock()
    serve = FakeServe(clock)
    serve.usual = Behaviour(start_s=0.0, drain_s=0.0)
    controller = Controller(
        registry=registry,
        serve=serve,
        releases=Releases(registry, prepare=prepare, read_function=read_function),
        clock=clock,
    )
    began = time.perf_counter()
    settle(controller, clock)
    first_s = time.perf_counter() - began
    chance, turns_ms = random.Random(0), []
    for _ in range(CHANGES):
        n = chance.randrange(rules)
        tags = {"canonical_name": f"model_{n % MODELS}", "region": f"r{n // MODELS}"}
        saved = registry.register(a_manifest(tags=tags), SHA, actor="ann")
        settle(controller, clock)
        registry.set_tags(saved.id, {"passes_tests": "true"}, actor="ann")
        began = time.perf_counter()
        turn = controller.turn()
        turns_ms.append((time.perf_counter() - began) * 1000)
        assert [action.wanted.envelope_id for action in turn.actions] == [saved.id], turn
        settle(controller, clock)
    memory = process.memory_info().rss - before
    began = time.perf_counter()
    assert not controller.turn().actions
    idle_ms = (time.perf_counter() - began) * 1000
    return {
        "change_to_plan_ms_p50": round(statistics.median(turns_ms), 2),
        "change_to_plan_ms_max": round(max(turns_ms), 2),
        "idle_turn_ms": round(idle_ms, 2),
        "latest_ms_p50": round(latest_ms(url, envelopes), 2),
        "memory_mb": round(memory / 1e6),
        "first_convergence_s": round(first_s, 1),
    }


def settle(controller: Controller, clock: FakeClock) -> None:
    """Take turns until nothing is left to do."""
    while True:
        turn = controller.turn()
        clock.advance(turn.wait_s)
        if not turn.actions and turn.wait_s >= 2:
            return


def latest_ms(url: str, envelopes: int) -> float:
    os.environ["ENVELOPE_REGISTRY"] = url
    chance, taken_ms = random.Random(1), []
    me.latest(query(0, 0))
    approved = [n for n in range(envelopes) if n // 7 % 3 == 0]
    for _ in range(SEARCHES):
        n = chance.choice(approved)
        wanted = query(n % MODELS, n // MODELS % REGIONS)
        began = time.perf_counter()
        me.latest(wanted)
        taken_ms.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken_ms)


if __name__ == "__main__":
    main()
