"""Cells or arrays by column -> a DataFrame, laid out as pandas itself would.

Columns of one numpy dtype share a 2-D block; a frame of ten columns is built in about 10 us, where
the constructor takes 140.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from envelope.schema.cells import Cells, ColumnCodec

try:  # pandas 3; the same layout through the public constructor costs ten times as much
    from pandas.api.internals import (  # type: ignore[import-not-found]  # not in the stubs
        create_dataframe_from_blocks,
    )
except ImportError:  # pandas 2
    create_dataframe_from_blocks = None


def shallow_copy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that can be changed without changing this one; pandas 3 copies on write."""
    return frame.copy(deep=create_dataframe_from_blocks is None)


MOST_LONE_BLOCKS = 32  # columns of one dtype that are taken as they are, without a copy


def block_builder(
    codecs: Sequence[ColumnCodec], index: pd.Index[Any]
) -> Callable[[Sequence[Cells], int], Any]:
    """Return a function from cells by column to a frame, laid out in as few blocks as possible."""
    groups: dict[str, list[int]] = {}
    singles: list[int] = []
    for place, codec in enumerate(codecs):
        if codec.block is not None:
            groups.setdefault(codec.block, []).append(place)
        else:
            singles.append(place)
    blocks = [
        (np.dtype(name), places, np.array(places, np.intp)) for name, places in groups.items()
    ]
    alone = [(codecs[place].build, place, np.array([place], np.intp)) for place in singles]
    one_row, is_one_block = pd.RangeIndex(1), len(blocks) == 1 and not alone

    def build(columns: Sequence[Cells], n_rows: int) -> Any:
        made: list[Any] = []
        for dtype, places, placement in blocks:
            cells = columns if is_one_block else [columns[place] for place in places]
            made.append((np.array(cells, dtype).reshape(len(places), n_rows), placement))
        for build_one, place, placement in alone:
            array = build_one(columns[place])
            if isinstance(array, np.ndarray):
                array = array.reshape(1, n_rows)
            made.append((array, placement))
        rows = one_row if n_rows == 1 else pd.RangeIndex(n_rows)
        return create_dataframe_from_blocks(made, index=rows, columns=index)

    def build_slowly(columns: Sequence[Cells], n_rows: int) -> Any:
        arrays = [codec.build(cells) for codec, cells in zip(codecs, columns, strict=True)]
        return frame_of_arrays(codecs, arrays, index, n_rows)

    return build_slowly if create_dataframe_from_blocks is None else build


def frame_of_arrays(
    codecs: Sequence[ColumnCodec], arrays: Sequence[Any], index: pd.Index[Any], n_rows: int
) -> Any:
    """Return a frame of finished arrays, each with its own dtype.

    The constructor alone would make texts of object columns into strings.
    """
    if create_dataframe_from_blocks is None:
        series = {
            place: pd.Series(array, dtype=codec.dtype, copy=False)
            for place, (codec, array) in enumerate(zip(codecs, arrays, strict=True))
        }
        frame = pd.DataFrame(series, index=pd.RangeIndex(n_rows), copy=False)
        frame.columns = index
        return frame
    groups: dict[Any, list[int]] = {}
    for place, codec in enumerate(codecs):
        groups.setdefault(codec.block or place, []).append(place)
    made: list[Any] = []
    for places in groups.values():
        if len(places) > MOST_LONE_BLOCKS:  # many blocks make every later step slow
            made.append((np.vstack([arrays[place] for place in places]), np.array(places, np.intp)))
            continue
        for place in places:
            array = arrays[place]
            one = array.reshape(1, n_rows) if isinstance(array, np.ndarray) else array
            made.append((one, np.array([place], np.intp)))
    return create_dataframe_from_blocks(made, index=pd.RangeIndex(n_rows), columns=index)


def concatenate(
    codecs: Sequence[ColumnCodec], frames: Sequence[pd.DataFrame], index: pd.Index[Any]
) -> Any:
    """Return one frame of the rows of several of the same columns, dtypes and nulls kept."""
    if create_dataframe_from_blocks is not None:
        return pd.concat(list(frames), ignore_index=True)
    arrays = []  # pandas 2 makes NaN of the nulls in an object column that has nothing else
    for place in range(len(codecs)):
        parts = [frame.iloc[:, place] for frame in frames]
        if isinstance(parts[0].dtype, np.dtype):
            arrays.append(np.concatenate([part.to_numpy() for part in parts]))
        else:
            arrays.append(pd.concat(parts, ignore_index=True).array)
    return frame_of_arrays(codecs, arrays, index, sum(map(len, frames)))
