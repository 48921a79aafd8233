"""Manifests for tests that need one and not what it stands for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from envelope.manifest import FORMAT_VERSION, Artifact, Blob, Environment, Manifest, Package

PACKAGES = (Package(name="pandas", version="2.10.1"), Package(name="scikit-learn", version="1.9.0"))


def an_environment(**changes: Any) -> Environment:
    """A small environment; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "python": "3.11.7",
        "implementation": "cpython",
        "platform": "linux-x86_64",
        "packages": PACKAGES,
    }
    return Environment(**{**fields, **changes})


def a_manifest(**changes: Any) -> Manifest:
    """A manifest with a new id; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "id": str(ULID()),
        "name": "client_ltv_model",
        "description": "Predicts client LTV",
        "created_at": datetime(2026, 1, 31, tzinfo=UTC),
        "created_by": "ann@laptop",
        "artifact": Artifact(
            codec="cloudpickle", blobs=(Blob(sha256="a" * 64, size_bytes=3),), type="x.Model"
        ),
        "functions": {"predict": "b" * 64},
        "default_function": "predict",
        "environment": an_environment(),
        "context": {"git": {"commit": "abc123", "is_dirty": False}},
        "hyperparameters": {"C": 0.1, "layers": [64, 32], "none": None},
        "tags": {"canonical_name": "client_ltv", "region": "US"},
    }
    return Manifest(**{**fields, **changes})
