"""Batch jobs: an envelope over a table, with Ray Data.

    job.py        a job resolved and checked; run.py: carried out
    plan.py       what is read, how it is cut: decisions on plain values
    inputs.py     files and columns of the input; columns.py: whether their types can fit
    reading.py    in a worker: rows of the input; scoring.py: through the function
    outputs.py    parts, the record of a batch, and its publication
    pipeline.py   reading, scoring and writing as one Ray Data pipeline
    failures.py   what a worker raised, out of what Ray makes of it

`python -m ray_runtime.batch FILE [NAME]` is the entrypoint of `ray job submit`. Nothing is imported
here: workers need two of these modules, and each import is time at their start.
"""
