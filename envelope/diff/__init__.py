"""What differs between two envelopes. Read from their records; nothing is unpickled."""

from envelope.diff.difference import Described, Diff, diff
from envelope.diff.reading import describe_pair
from envelope.diff.text import as_text

__all__ = ["Described", "Diff", "as_text", "describe_pair", "diff"]
