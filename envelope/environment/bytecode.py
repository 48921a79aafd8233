"""Bytecode that another environment of this node has compiled already.

Files are linked from uv's cache, so that environments share the sources of equal packages; but each
would compile them again at its first import: 3.5 s of CPU for Ray, pandas and scikit-learn, in
the path of every release with a new lock. Linking the compiled files takes 0.2 s.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

_CACHE = "__pycache__"


def share_bytecode(donor: str, target: str) -> int:
    """Link the compiled files of one site-packages into another, where the source is the same file.

    Returns how many were linked; 0 when the two have nothing in common. Python checks each against
    its source at import in any case, and replaces files instead of writing into them.
    """
    count = 0
    for folder in _caches(donor):
        inside = os.path.relpath(os.path.dirname(folder), donor)
        sources = os.path.join(target, inside)
        if not os.path.isdir(sources):
            continue
        count += _share_folder(folder, os.path.join(sources, _CACHE))
    return count


def _share_folder(donor_cache: str, target_cache: str) -> int:
    donor, target = os.path.dirname(donor_cache), os.path.dirname(target_cache)
    count = 0
    try:
        names = os.listdir(donor_cache)
    except OSError:  # the donor is being removed
        return 0
    for name in names:
        source = f"{name.partition('.')[0]}.py"
        try:
            if not os.path.samefile(os.path.join(donor, source), os.path.join(target, source)):
                continue
            os.makedirs(target_cache, exist_ok=True)
            os.link(os.path.join(donor_cache, name), os.path.join(target_cache, name))
        except OSError:  # gone meanwhile, there already, or not a file system with links
            continue
        count += 1
    return count


def _caches(root: str) -> Iterator[str]:
    pending = [root]
    while pending:
        for entry in _folders(pending.pop()):
            if entry.name == _CACHE:
                yield entry.path
            else:
                pending.append(entry.path)


def _folders(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # the donor is being removed
        return []
