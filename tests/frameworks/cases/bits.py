"""What two answers have in common that are equal to the last bit."""

from __future__ import annotations

from typing import Any


def bits(value: Any) -> Any:
    """Reduce an answer to its type, shape and bytes."""
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tobytes") and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    return type(value).__name__, value.tolist() if hasattr(value, "tolist") else value
