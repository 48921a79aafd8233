"""PyTorch's storages as arrays of bytes; modules and tensors are pickled around them.

A storage pickles itself as a copy that torch.save makes, and unpickling makes two more. As an array
it is written from the tensors' own memory, and the loaded tensors keep what was read into; views
and tied weights stay so, whatever holds the tensors.
"""

from __future__ import annotations

from typing import Any

from envelope.artifacts.parts import Parts

NAME = "torch"
TYPES = frozenset({"torch.storage.TypedStorage", "torch.storage.UntypedStorage"})


def take_apart(storage: Any) -> Parts | None:
    import torch

    if storage.device.type != "cpu":
        return None  # torch's own pickle says where it was, and refuses where there is no such
    if isinstance(storage, torch.storage.TypedStorage):
        # As torch.serialization does; `untyped()` warns that typed storages are deprecated.
        return Parts(state=(storage._untyped_storage, storage.dtype))
    flat = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (storage.nbytes(),), (1,))
    return Parts(state=flat.numpy())


def build(state: Any) -> Any:
    import torch

    if isinstance(state, tuple):
        storage, dtype = state
        return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)
    return torch.from_numpy(state).untyped_storage()
