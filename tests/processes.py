"""Processes for tests of concurrency: started from one that has imported what they need."""

from __future__ import annotations

import multiprocessing

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["envelope.registry", "tests.manifests", "pydantic"])
