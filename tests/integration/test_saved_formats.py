"""Envelopes that earlier versions saved, kept in tests/data, load and answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envelope.load import load_envelope
from envelope.store import Store

DATA = Path(__file__).parent.parent / "data"


@pytest.mark.parametrize("folder", ["format-1"])
def test_an_envelope_of_an_earlier_version_loads(folder: str) -> None:
    store = Store(str(DATA / folder))
    (envelope_id,) = store.envelope_ids()
    # Saved with other versions of packages; what it refers to, NumPy has had under these names.
    loaded = load_envelope(store, envelope_id, check_environment=False)
    answer = loaded.default.query(np.arange(5.0))
    np.testing.assert_array_equal(answer, [0.5, 1.5, 6.5, 15.5, 28.5])
    assert loaded.manifest.tags == {"region": "US"}
