"""`python -m ray_runtime.batch FILE [NAME]`: the entrypoint of `ray job submit`."""

from __future__ import annotations

from ray_runtime.batch_commands import run_here

if __name__ == "__main__":
    run_here(prog_name="python -m ray_runtime.batch")
