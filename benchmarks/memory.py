"""What saving and loading a big model needs in memory, beyond the model's own bytes.

`python benchmarks/memory.py`: fresh processes save and load an object that holds NumPy arrays, and
the kernel's account of each is printed: the largest resident size, and the largest anonymous part
of it (what is not a file's cache), as multiples of the model's size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peers import machine

LIMIT = 1.10  # of the model's size, itself included

COMMON = """
import json, resource, sys, threading, time
import numpy as np
import envelope as me
from sklearn.base import BaseEstimator

def held(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":")) * 1024

class Peaks:
    '''Samples anonymous memory while the block runs; the kernel keeps no peak of it.'''
    def __enter__(self):
        open("/proc/self/clear_refs", "w").write("5")   # the peak of the resident size begins anew
        self.most, self.runs = held("RssAnon"), True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        self.start = time.perf_counter()
        return self
    def watch(self):
        while self.runs:
            self.most = max(self.most, held("RssAnon"))
            time.sleep(0.005)
    def __exit__(self, *_):
        self.seconds = time.perf_counter() - self.start
        self.runs = False
        self.thread.join()
        self.resident = held("VmHWM")

def report(peaks, before, **more):
    resident, anonymous = before
    print(json.dumps({"resident": peaks.resident - resident, "anonymous": peaks.most - anonymous,
                      "seconds": peaks.seconds, **more}))
"""

SAVE = (
    COMMON
    + """
class Lookup(BaseEstimator):
    '''Nearest of many vectors, the arrays of three kinds of memory order and size.'''
    def fit(self, size_bytes):
        random = np.random.default_rng(0)
        rows = size_bytes // 2 // 4 // 128
        self.vectors_ = random.random((rows, 128), dtype=np.float32)
        self.table_ = np.asfortranarray(random.random((rows, 96), dtype=np.float32))
        self.weights_ = [random.random(rows * 32 // 8, dtype=np.float32) for _ in range(8)]
        return self
    def predict(self, place: int) -> float:
        return float(self.vectors_[place].sum() + self.table_[place, 0] + self.weights_[7][place])

warm = Lookup().fit(1 << 20)
me.save_model(name="warm", model=warm, query_function="predict", api_input={"place": 1})
before = held("VmRSS"), held("RssAnon")
model = Lookup().fit(int(sys.argv[1]))
with Peaks() as peaks:
    envelope = me.save_model(
        name="big", model=model, query_function="predict", api_input={"place": 1}
    )
size = model.vectors_.nbytes + model.table_.nbytes + sum(w.nbytes for w in model.weights_)
report(peaks, before, size=size, id=envelope.id, answer=model.predict(1))
"""
)

LOAD = (
    COMMON
    + """
warm = me.latest("name = 'warm'").load()
envelope = me.get(sys.argv[1])
before = held("VmRSS"), held("RssAnon")
with Peaks() as peaks:
    loaded = envelope.load()
report(peaks, before, answer=loaded.default.call(place=1))
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as home:
        saved = run(SAVE, str(options.bytes), home)
        loaded = run(LOAD, saved["id"], home)
    size = saved["size"]
    print(f"a model of {size:,.0f} bytes in 10 arrays")
    ratios = [show("save_model", saved, size), show("load", loaded, size)]
    if saved["answer"] != loaded["answer"]:
        sys.exit("the loaded model answers differently")
    if max(ratios) > LIMIT:
        sys.exit(f"more than {LIMIT} times the model's size")


def run(code: str, argument: str, home: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, argument],
        env=os.environ | {"ENVELOPE_HOME": home},
        cwd=home,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def show(name: str, figures: dict[str, float], size: float) -> float:
    """Print what the process held at most, the model included; return the larger ratio."""
    resident, anonymous = figures["resident"] / size, figures["anonymous"] / size
    print(
        f"{name}: at most {anonymous:.3f} of the model's size anonymous, {resident:.3f} resident "
        f"(the model itself is 1), {figures['seconds']:.1f} s"
    )
    return max(resident, anonymous)


if __name__ == "__main__":
    main()
