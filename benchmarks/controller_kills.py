"""kill -9 the controller at a random moment of each of ten swaps, under load.

`python benchmarks/controller_kills.py` starts a platform of its own, and stops it. Every swap must
end with the right envelope live, each exactly one release, and no request may fail.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from hot_swap import NAME, STATE, deploy, envelope, save
from load import Load
from peers import machine

from envelope.settings import Settings
from ray_runtime.home import Home
from ray_runtime.processes import find_processes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(machine(), f"one replica, {options.rate} requests/s")
    with tempfile.TemporaryDirectory(prefix="kills-") as home:
        os.environ["ENVELOPE_HOME"] = home
        try:
            run(Settings.read(), options)
        finally:
            envelope("down")


def run(settings: Settings, options: argparse.Namespace) -> None:
    envelope("up")
    state = settings.home / "state.yaml"
    state.write_text(STATE)
    envelope("apply", "-f", str(state))
    ids = [save(sys.executable, str(slope), "works") for slope in range(options.swaps + 1)]
    deploy(ids[0], works=True)
    chance = random.Random(options.seed)
    body = json.dumps(dict.fromkeys("abcdefgh", 0.5)).encode()
    url = f"http://127.0.0.1:{settings.serve_port}/{NAME}/v0/query"
    with Load(url, body, rate=options.rate) as load:
        for envelope_id in ids[1:]:
            envelope("tag", envelope_id, "ready=true")
            wait_s = chance.uniform(0, 8)
            time.sleep(wait_s)
            kill_controller(settings)
            began = time.monotonic()
            deploy(envelope_id, works=True)
            print(
                f"killed {wait_s:.1f} s after the tag; live {time.monotonic() - began:.1f} s later"
            )
    print(load.report)
    lines = envelope("releases", NAME, "--json", "--limit", "100").splitlines()
    history = [(row["envelope_id"], row["state"]) for row in reversed(list(map(json.loads, lines)))]
    expected = [(each, "retired") for each in ids[:-1]] + [(ids[-1], "live")]
    is_right = history == expected
    print(f"{len(history)} releases; history {'as it should be' if is_right else history}")
    if load.report.failed or not is_right:
        sys.exit("FAILED")


def kill_controller(settings: Settings) -> None:
    for process in find_processes(Home(settings.home).id):
        if process.role == "controller":
            os.kill(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
