"""The servers that benchmarks/serving.py measures, one module each.

`apps/` is what a peer's own Python runs; `questions` is what everybody is asked.
"""
