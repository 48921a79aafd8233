"""What is captured when a model is saved, without being asked for.

Importing this package reads nothing and imports no model library; each function does its part.
"""

from envelope.capture.context import capture_context
from envelope.capture.datasets import describe_datasets
from envelope.capture.environment import CapturedEnvironment, capture_environment
from envelope.capture.fitted import describe_fitted
from envelope.capture.modules import pack_module
from envelope.capture.source import source_of
from envelope.capture.statistics import statistics_of
from envelope.capture.stream import GlobalsSeen
from envelope.capture.whereabouts import is_local_module

__all__ = [
    "CapturedEnvironment",
    "GlobalsSeen",
    "capture_context",
    "capture_environment",
    "describe_datasets",
    "describe_fitted",
    "is_local_module",
    "pack_module",
    "source_of",
    "statistics_of",
]
