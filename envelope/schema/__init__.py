"""The types of a function's inputs and output, inferred, checked and described."""
