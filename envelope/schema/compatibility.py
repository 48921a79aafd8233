"""What would break for the callers of one function if another took its place."""

from __future__ import annotations

from collections.abc import Iterator

from envelope.schema import types as t
from envelope.schema.fits import Extra, Misfit, Scope, misfits
from envelope.schema.words import describe


def breaking_changes(
    old: t.FunctionSchema, new: t.FunctionSchema, *, extra_columns: Extra = "refuse"
) -> list[str]:
    """Say, a line each, what callers of `old` send that `new` refuses, and what they miss in it.

    What is new and optional breaks nothing, nor does a new column of the output.
    extra_columns: what the deployment does with input that `new` does not name.
    """
    return [*_input_changes(old, new, extra_columns), *_output_changes(old, new)]


def _input_changes(old: t.FunctionSchema, new: t.FunctionSchema, extra: Extra) -> Iterator[str]:
    if (old.one_frame is None) != (new.one_frame is None):
        forms = {True: "a member per parameter", False: "one frame"}
        before, after = forms[old.one_frame is None], forms[new.one_frame is None]
        yield f"the input is {after}, it was {before}"
        return
    found = (
        misfits(old.one_frame, new.one_frame, "", Scope(extra=extra))
        if old.one_frame is not None and new.one_frame is not None
        else _parameter_misfits(old, new, extra)
    )
    yield from (_input_words(misfit) for misfit in found)


def _parameter_misfits(
    old: t.FunctionSchema, new: t.FunctionSchema, extra: Extra
) -> Iterator[Misfit]:
    sends = {each.name: each for each in old.parameters}
    reads = {each.name: each for each in new.parameters}
    for name, each in sends.items():
        if name not in reads and extra == "refuse":
            yield Misfit(f"parameter {name}", each.type, None)
    for name, each in reads.items():
        path = f"parameter {name}"
        if each.required and not (name in sends and sends[name].required):
            yield Misfit(path, None, each.type)
        elif name in sends:
            yield from misfits(sends[name].type, each.type, path, Scope(extra=extra))


def _output_changes(old: t.FunctionSchema, new: t.FunctionSchema) -> Iterator[str]:
    if old.output is None:
        return
    if new.output is None:
        yield f"the output is not known, it was {describe(old.output)}"
        return
    # Who reads an answer passes over what it does not know.
    for misfit in misfits(new.output, old.output, "", Scope(extra="ignore")):
        yield _output_words(misfit)


def _input_words(misfit: Misfit) -> str:
    where = f"input {misfit.path}".rstrip()
    if misfit.read is None:
        return f"{where} is gone, callers send it"
    if misfit.sent is None:
        return f"{where} is required, callers need not send it: {describe(misfit.read)}"
    return f"{where} takes {_differing(misfit.read, misfit.sent)}"


def _output_words(misfit: Misfit) -> str:
    where = f"output{'' if misfit.path[:1] in '.[' else ' '}{misfit.path}".rstrip()
    if misfit.sent is None:
        return f"{where} is gone, callers read it"
    assert misfit.read is not None  # what nobody reads is ignored
    return f"{where} is {_differing(misfit.sent, misfit.read)}"


def _differing(new: t.Type, old: t.Type) -> str:
    """Name both types; of two lists of values that look alike, what is in one of them only."""
    after, before = describe(new), describe(old)
    if isinstance(new, t.Categorical) and isinstance(old, t.Categorical):
        gone = [repr(level) for level in old.levels if level not in new.levels]
        added = [repr(level) for level in new.levels if level not in old.levels]
        after += f" (without {', '.join(gone[:3])})" if gone else ""
        after += f" (with {', '.join(added[:3])})" if added else ""
    return f"{after}, it was {before}"
