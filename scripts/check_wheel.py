"""Build the wheel, install it alone into a fresh environment, and try it as an SDK user would.

Prints the size of the installed SDK and the time that `import envelope` takes; fails when the
import is slow or pulls in what the SDK promises not to.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_IMPORT_S = 0.5
NOT_IN_THE_SDK = ("ray", "fastapi", "starlette", "sklearn", "torch", "lightgbm", "xgboost")

PROBE = f"""
import sys, time
start = time.perf_counter()
import envelope
seconds = time.perf_counter() - start
loaded = [name for name in {NOT_IN_THE_SDK!r} if name in sys.modules]
assert not loaded, f"import envelope loads {{loaded}}"
import model_envelope
assert model_envelope.save_model is envelope.save_model
print(f"{{seconds:.3f}}")
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run("uv", "build", "--quiet", "--wheel", "--out-dir", str(place), str(ROOT))
        wheel = next(place.glob("*.whl"))
        run("uv", "venv", "--quiet", "--python", sys.executable, str(place / "venv"))
        python = place / "venv" / "bin" / "python"
        before = size_mb(place / "venv")
        install = ("uv", "pip", "install", "--quiet", "--python", str(python))
        run(*install, "--constraint", str(ROOT / "constraints.txt"), str(wheel))
        # The first import writes the bytecode; the best of three is what a user waits for.
        seconds = min(float(run(str(python), "-c", PROBE, cwd=place)) for _ in range(3))
        run(str(python.parent / "envelope"), "--help", cwd=place)
        print(
            f"wheel {wheel.name}: {wheel.stat().st_size / 1e3:.0f} kB; installed SDK with its "
            f"dependencies {size_mb(place / 'venv') - before:.0f} MB; import {seconds:.2f} s"
        )
        if seconds > MAX_IMPORT_S:
            print(f"import envelope takes {seconds:.2f} s, more than {MAX_IMPORT_S} s")
            return 1
    return 0


def run(program: str, *arguments: str, cwd: Path | None = None) -> str:
    path = str(Path(sys.executable).parent / program) if program == "uv" else program
    done = subprocess.run([path, *arguments], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{program} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def size_mb(folder: Path) -> float:
    return sum(f.lstat().st_size for f in folder.rglob("*") if not f.is_dir()) / 1e6


if __name__ == "__main__":
    sys.exit(main())
