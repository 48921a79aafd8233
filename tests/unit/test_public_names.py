from __future__ import annotations

import sys

import pytest

import envelope
import model_envelope

NAMES = [
    "ConfusionMatrix",
    "Curve",
    "Envelope",
    "EnvelopeError",
    "Histogram",
    "Image",
    "Table",
    "Text",
    "Vector",
    "deploy",
    "find",
    "get",
    "latest",
    "metric_type",
    "metrics_frame",
    "read_table",
    "save_model",
]


def test_the_public_names_are_these() -> None:
    assert sorted(envelope.__all__) == NAMES
    assert set(NAMES) <= set(dir(envelope))


@pytest.mark.parametrize("name", NAMES)
def test_each_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(envelope, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'svae_model'"):
        _ = envelope.svae_model


def test_model_envelope_is_the_same_module() -> None:
    assert model_envelope is sys.modules["envelope"]
