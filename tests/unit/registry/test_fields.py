"""Which texts name a field."""

from __future__ import annotations

import pytest

from envelope.errors import ConfigError
from envelope.registry.fields import read_fields


@pytest.mark.parametrize("field", ["", "tags.a\0", "name exists and tags.x", "proved", "auc"])
def test_a_field_is_one_key(field: str) -> None:
    with pytest.raises(ConfigError, match="is no key of a query"):
        read_fields([field])


def test_there_are_not_too_many() -> None:
    with pytest.raises(ConfigError, match="51 fields are too many at once, the limit is 50"):
        read_fields([f"tags.t{n}" for n in range(51)])
