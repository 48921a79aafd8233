from __future__ import annotations

import os
import sys
from pathlib import Path

from envelope.proof import machine_variables


def test_the_proving_process_has_what_the_machine_has() -> None:
    training = {
        "PATH": os.pathsep.join([f"{sys.prefix}/bin", "/opt/java/bin", "/usr/bin"]),
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "LC_ALL": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "0",
        "HOME": "/home/ann",
        "PYTHONPATH": "/home/ann/code",
        "VIRTUAL_ENV": sys.prefix,
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "MY_MODEL_PATH": "/home/ann/model",
    }
    found = machine_variables(training, home=Path("/empty"), python=Path("/envs/1/bin/python"))
    assert found == {
        "PATH": os.pathsep.join(["/envs/1/bin", "/opt/java/bin", "/usr/bin"]),
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "LC_ALL": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": "0",
        "HOME": "/empty",
        "USERPROFILE": "/empty",
        "PYTHONNOUSERSITE": "1",
    }
